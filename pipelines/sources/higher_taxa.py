"""Names of higher taxa by rank, as plain data: a label of one capitalised word is one of these, or shows its rank by
its ending, or is taken for a genus.

Phyla and classes of animals; all orders of Mammalia, Reptilia and Amphibia with the names they had (those of Aves and
most of fishes end in -iformes); the orders of insects, arachnids, myriapods and crustaceans, and those of other animals
that the 8,142 species of iNaturalist 2018 are in. Words are separated by blanks, in small letters. A name that is a
genus too which archives have (Ensifera, Chelonia, Acanthocephala) is left out. BETWEEN holds what lies between the
ranks that facts have: a snake of "Serpentes" has no order, and so contradicts none that says Squamata.
"""

KINGDOMS = "animalia metazoa plantae fungi bacteria archaea chromista protozoa"

PHYLA = """
    annelida arthropoda brachiopoda bryozoa chaetognatha chordata cnidaria ctenophora echinodermata
    entoprocta gastrotricha hemichordata kinorhyncha loricifera mollusca mycetozoa nematoda nematomorpha nemertea
    onychophora phoronida placozoa platyhelminthes porifera priapulida rotifera sipuncula tardigrada xenacoelomorpha
    cyanobacteria
"""

CLASSES = """
    mammalia aves reptilia sauropsida amphibia actinopterygii actinopteri osteichthyes sarcopterygii dipneusti
    chondrichthyes elasmobranchii holocephali cephalaspidomorphi petromyzonti myxini agnatha leptocardii ascidiacea
    thaliacea appendicularia
    insecta entognatha collembola diplura protura arachnida merostomata pycnogonida chilopoda diplopoda pauropoda
    symphyla malacostraca branchiopoda maxillopoda hexanauplia thecostraca copepoda ostracoda remipedia cephalocarida
    gastropoda bivalvia cephalopoda polyplacophora scaphopoda monoplacophora
    polychaeta clitellata oligochaeta hirudinea phascolosomatidea sipunculidea turbellaria rhabditophora trematoda
    cestoda monogenea chromadorea enoplea secernentea adenophorea
    anthozoa hydrozoa scyphozoa cubozoa staurozoa tentaculata asteroidea echinoidea holothuroidea ophiuroidea crinoidea
    gymnolaemata phylactolaemata stenolaemata demospongiae calcarea hexactinellida
"""

ORDERS = """
    afrosoricida artiodactyla carnivora cetacea cetartiodactyla chiroptera cingulata dasyuromorphia dermoptera
    didelphimorphia diprotodontia edentata erinaceomorpha eulipotyphla hyracoidea insectivora lagomorpha lipotyphla
    macroscelidea microbiotheria monotremata notoryctemorphia paucituberculata peramelemorphia perissodactyla pholidota
    pilosa primates proboscidea rodentia scandentia sirenia soricomorpha tenrecomorpha tubulidentata
    squamata testudines testudinata crocodylia crocodilia rhynchocephalia sphenodontia sphenodontida
    anura salientia caudata urodela gymnophiona

    archaeognatha microcoryphia zygentoma thysanura ephemeroptera odonata plecoptera dermaptera embioptera embiidina
    orthoptera phasmida phasmatodea grylloblattodea notoptera mantophasmatodea mantodea blattodea blattaria isoptera
    dictyoptera zoraptera psocoptera psocodea phthiraptera mallophaga anoplura thysanoptera hemiptera homoptera
    neuroptera megaloptera raphidioptera coleoptera strepsiptera mecoptera siphonaptera diptera trichoptera lepidoptera
    hymenoptera entomobryomorpha poduromorpha symphypleona neelipleona
    araneae opiliones scorpiones solifugae pseudoscorpiones pseudoscorpionida amblypygi uropygi thelyphonida schizomida
    palpigradi ricinulei ixodida mesostigmata holothyrida opilioacarida xiphosura xiphosurida
    scolopendromorpha scutigeromorpha lithobiomorpha geophilomorpha craterostigmomorpha polydesmida julida spirobolida
    spirostreptida callipodida chordeumatida glomerida glomeridesmida sphaerotheriida polyxenida platydesmida
    polyzoniida siphonophorida stemmiulida
    decapoda isopoda amphipoda stomatopoda euphausiacea mysida cumacea tanaidacea anostraca notostraca spinicaudata
    laevicaudata cladocera diplostraca anomopoda calanoida cyclopoida harpacticoida sessilia pedunculata scalpellomorpha
    balanomorpha

    stylommatophora systellommatophora basommatophora pulmonata hygrophila littorinimorpha neogastropoda mesogastropoda
    architaenioglossa cycloneritimorpha nudibranchia cephalaspidea anaspidea aplysiida sacoglossa pleurobranchomorpha
    pleurobranchida trochida patellogastropoda lepetellida chitonida lepidopleurida adapedonta arcida cardiida limida
    myida mytilida mytiloida ostreida pectinida unionida unionoida venerida veneroida octopoda sepiida sepiolida
    spirulida teuthida myopsida oegopsida nautilida dentaliida
    phyllodocida sabellida terebellida spionida eunicida amphinomida haplotaxida crassiclitellata opisthopora
    lumbriculida arhynchobdellida rhynchobdellida tricladida polycladida
    actiniaria scleractinia corallimorpharia zoantharia zoanthidea alcyonacea pennatulacea antipatharia anthoathecata
    leptothecata siphonophorae semaeostomeae rhizostomeae coronatae
    aspidochirotida dendrochirotida apodida synallactida camarodonta clypeasteroida diadematoida cidaroida spatangoida
    arbacioida forcipulatida spinulosida valvatida paxillosida velatida ophiurida amphilepidida comatulida
    cheilostomatida ctenostomatida cyclostomatida pleurogona enterogona stolidobranchia phlebobranchia
    aplousobranchia
"""

BETWEEN = {
    "subphylum": "vertebrata hexapoda crustacea myriapoda chelicerata tunicata cephalochordata",
    "superclass": "tetrapoda pisces gnathostomata",
    "subclass": "theria prototheria acari cirripedia pterygota",
    "infraclass": "marsupialia metatheria eutheria placentalia teleostei",
    "superorder": "xenarthra afrotheria laurasiatheria euarchontoglires paenungulata lepidosauria neognathae "
                  "palaeognathae selachimorpha batoidea",
    "clade": "amniota anapsida diapsida archosauria lissamphibia ungulata pinnipedia glires",
    "suborder": """
        serpentes ophidia sauria lacertilia amphisbaenia cryptodira pleurodira archaeobatrachia neobatrachia
        mesobatrachia ruminantia suina suiformes tylopoda whippomorpha caniformia feliformia fissipedia strepsirrhini
        strepsirhini haplorhini haplorrhini prosimii anthropoidea odontoceti mysticeti megachiroptera microchiroptera
        yinpterochiroptera yangochiroptera sciuromorpha myomorpha hystricomorpha castorimorpha anomaluromorpha
        folivora vermilingua phalangeriformes vombatiformes macropodiformes hippomorpha ceratomorpha passeri tyranni
        oscines suboscines nematocera brachycera zygoptera anisoptera apocrita symphyta caelifera heteroptera
        auchenorrhyncha sternorrhyncha adephaga polyphaga mygalomorphae araneomorphae dendrobranchiata pleocyemata
    """,
    "infraorder": """
        iguania gekkota scincomorpha anguimorpha alethinophidia scolecophidia simiiformes lemuriformes lorisiformes
        tarsiiformes chiromyiformes platyrrhini catarrhini caviomorpha hystricognathi pecora arctoidea cynoidea
        brachyura anomura caridea astacidea
    """,
    "superfamily": """
        hominoidea cercopithecoidea ceboidea lemuroidea lorisoidea muroidea dipodoidea cavioidea octodontoidea canoidea
        feloidea bovoidea cervoidea giraffoidea equoidea macropodoidea phalangeroidea testudinoidea chelonioidea
        colubroidea varanoidea papilionoidea apoidea formicoidea vespoidea
    """,
}  # fmt: skip

ENDINGS = (
    ("iformes", "order"),
    ("idae", "family"),
    ("inae", "subfamily"),
    ("ini", "tribe"),
    ("phyta", "phylum"),
    ("mycota", "phylum"),
    ("opsida", "class"),
    ("mycetes", "class"),
    ("phyceae", "class"),
    ("ales", "order"),
    ("aceae", "family"),
)
"""What a name ends in at a rank: of animals (zoological code; orders of birds and fishes), then of plants, algae and
fungi, which archives of citizens hold too."""
