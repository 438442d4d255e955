"""The words that archives write for people, vehicles, empty frames and labels that name nothing, as plain data.

English, Spanish, Portuguese, French and German (the languages of captions), and the vocabularies of public camera-trap
sets. Entries are separated by commas; letter case, accents and separators do not count (`labels.plain`).

WHOLE holds what a label must be, word for word. WITHIN holds what may stand anywhere in it, as a run of whole words:
"human/vehicle", "people on foot", "pickup truck". A word is in WITHIN where hardly any animal is called so. "hunter",
"ranger", "pastor", "berger" or "van" are in WHOLE alone, since bee hunter, Shaka ranger, pastor alemán, berger allemand
and Van Gelder's bat are animals; and so is all that means blank or unknown: ghost crab, unknown deer. A possessive is a
word of its own, so Hunter's hartebeest and the bushman's hare hold no people. ANIMALS lists the few names that hold a
word of WITHIN all the same. What is still wrong in an archive, its setting `types` puts right.
"""

PEOPLE_WITHIN = """
    human, humans, person, persons, people, homo, sapiens, man, men, woman, women, child, children, boy, boys, girl,
    girls, pedestrian, pedestrians, hiker, hikers, cyclist, cyclists, bicyclist, bicyclists, biker, bikers,
    motorcyclist, rider, riders, jogger, joggers, skier, skiers, backpacker, backpackers, tourist, tourists,
    poacher, poachers, villager, villagers, herder, herders, herdsman, herdsmen, farmworker, woodcutter,
    woodcutters, lumberjack, researcher, researchers, scientist, scientists, biologist, ecologist, technician,
    technicians, photographer, trespasser, trespassers, setup, set up, camera trapper, camera trappers,
    camera pickup, camera retrieval, calibration, dog walker, dog walkers, park ranger, park rangers, forest ranger,
    forest rangers, game ranger, game rangers,
    humano, humana, humanos, humanas, persona, personas, gente, hombre, hombres, mujer, mujeres, niños, niñas,
    excursionista, excursionistas, senderista, senderistas, ciclista, ciclistas, turista, turistas, campesino,
    campesinos, investigador, investigadora, investigadores, guardaparque, guardaparques, guardabosques, jinete,
    jinetes,
    pessoa, pessoas, homem, homens, mulher, mulheres, criança, crianças, caminhante, pesquisador, pesquisadora,
    pesquisadores, cavaleiro,
    humain, humaine, humains, humaines, personne, personnes, homme, hommes, femme, femmes, enfant, enfants, gens,
    randonneur, randonneuse, randonneurs, promeneur, promeneuse, promeneurs, cycliste, cyclistes, piéton, piétons,
    touriste, touristes, braconnier, braconniers, chercheur, chercheurs,
    mensch, menschen, personen, frau, frauen, männer, maenner, leute, jäger, fußgänger, fussgaenger, spaziergänger,
    spaziergaenger, wanderin, radfahrer, radfahrerin, mountainbiker, wilderer, forscher, pilzsammler, joggerin
"""
PEOPLE_WHOLE = """
    start, end, ignore, hunter, hunters, deer hunter, bow hunter, fisher man, fisherman, fishermen, angler, anglers,
    farmer, farmers, shepherd, shepherds, ranger, rangers, guard, guards, patrol, ranger patrol, police, soldier,
    soldiers, military, worker, workers, staff, crew, field crew, team, field team, camera team, guide, guides,
    porter, porters, walker, walkers, runner, runners, camper, campers, climber, climbers, logger, loggers, trapper,
    trappers, visitor, visitors, intruder, surveyor, local, locals, hand, hands, face, kid, kids, baby,
    niño, niña, cazador, cazadores, pescador, pescadores, pastor, pastores, vaquero, vaqueros, caminante,
    caminantes, guía, guardia, leñador, leñadores, soldado, soldados,
    caçador, caçadores, vaqueiro, lenhador, lenhadores, guarda parque,
    chasseur, chasseurs, pêcheur, pêcheurs, berger, bergers, cavalier, cavaliers, marcheur, marcheurs, garde,
    gardes, joggeur, bûcheron, bûcherons, soldat, soldats,
    mann, kind, kinder, wanderer, reiter, reiterin, förster, foerster, waldarbeiter, hirte, hirten, landwirt,
    schäfer
"""
"""start, end and ignore are words of a LILA set for the camera being set up, which shows who does it."""

VEHICLE_WITHIN = """
    vehicle, vehicles, car, cars, truck, trucks, lorry, lorries, bus, buses, jeep, jeeps, tractor, tractors,
    motorcycle, motorcycles, motorbike, motorbikes, bicycle, bicycles, bike, bikes,
    moped, mopeds, atv, atvs, utv, utvs, suv, suvs, 4x4, automobile, automobiles,
    snowmobile, snowmobiles, boat, boats, bulldozer, excavator, camper van, delivery van, minivan, minibus,
    golf cart, ox cart, motor scooter, tuk tuk,
    vehículo, vehículos, carro, carros, camión, camiones, camioneta, camionetas, moto, motos, motocicleta,
    motocicletas, cuatrimoto, cuatrimotos, bicicleta, bicicletas, autobús, autobuses,
    veículo, veículos, caminhão, caminhões, caminhonete, caminhonetes, trator, tratores, ônibus, quadriciclo,
    véhicule, véhicules, voiture, voitures, camionnette, camionnettes, tracteur, tracteurs, vélo, vélos, vtt,
    autobus,
    fahrzeug, fahrzeuge, kraftfahrzeug, kfz, pkw, lkw, lastwagen, geländewagen, traktor, traktoren, motorrad,
    motorräder, fahrrad, fahrräder, fahrraeder
"""
VEHICLE_WHOLE = """
    pickup, pick up, van, vans, quad, quads, buggy, ute, cart, wagon, trailer, train, trains, plane, airplane,
    aircraft, helicopter, drone, ship, ferry, canoe, canoes, kayak, kayaks, scooter, machine, machinery,
    coche, coches, auto, autos, barco, barcos, lancha, lanchas, bote, botes, canoa, canoas, tren, carreta, bici,
    bicis,
    trem,
    bateau, bateaux, pirogue, pirogues, charrette,
    boot, boote, zug, schlepper, anhänger
"""

BLANK = """
    empty, blank, none, misfire, misfires, nothing, nothing here, nothinghere, no animal, no animals, noanimal,
    no animal present, no wildlife, no species, false trigger, false triggers, falsetrigger, false positive,
    false detection, ghost, background, vegetation, moving vegetation, empty image, empty frame, blank image,
    vacío, vacía, vacíos, vacías, imagen vacía, foto vacía, nada, ninguno, ninguna, en blanco, sin animal,
    sin animales, sin fauna, disparo en falso, falso disparo, falsa alarma, falso positivo,
    vazio, vazia, vazios, vazias, imagem vazia, foto vazia, nenhum, nenhuma, sem animal, sem animais, sem fauna,
    disparo falso, em branco,
    vide, vides, image vide, photo vide, rien, aucun, aucune, aucun animal, sans animal, pas d'animal,
    pas d'animaux, faux déclenchement, déclenchement intempestif, faux positif, néant,
    leer, leere, leeres bild, leere aufnahme, leerbild, leerbilder, leeraufnahme, leeraufnahmen, nichts, kein tier,
    keine tiere, fehlauslösung, fehlauslösungen, fehlalarm
"""
"""Of the whole frame. What says that a frame could not be judged is in UNKNOWN: such a frame need not be empty."""

UNKNOWN = """
    unknown, unknowns, unk, unidentified, unidentifiable, unclassifiable, not identifiable, not identified,
    undetermined, indeterminate, indet, unsure, not sure, uncertain, unclear, can't tell, cannot tell, don't know,
    dont know, unknown animal, unknown animals, unidentified animal, unidentifiable animal, animal unknown,
    unknown species, unidentified species, other, others, other animal, other animals, other species, cv failed,
    lens obscured, obscured lens, camera obscured, vegetation obstruction, snow on lens, tilted, misdirected, sun,
    fire, foggy weather, foggy lens, fogged lens, dirty lens, wet lens, foggy, blurred, blurry, too dark,
    too bright, overexposed, underexposed, eyeshine, eye shine,
    desconocido, desconocida, desconocidos, animal desconocido, especie desconocida, no identificado,
    no identificada, no identificable, sin identificar, indeterminado, indeterminada, otro, otra, otros, otras,
    borroso, borrosa,
    desconhecido, desconhecida, animal desconhecido, não identificado, não identificada, não identificável, outro,
    outra, outros, outras, desfocado, desfocada,
    inconnu, inconnue, inconnus, animal inconnu, espèce inconnue, non identifié, non identifiée, non identifiable,
    indéterminé, indéterminée, indéterminable, autre, autres, flou, floue,
    unbekannt, unbekanntes tier, unbestimmt, unbestimmbar, nicht bestimmbar, nicht bestimmt, nicht erkennbar,
    unklar, sonstige, sonstiges, andere, anderes, unscharf
"""

UNCLASSIFIED = """
    unclassified, unlabeled, unlabelled, not labeled, not labelled, no label, nolabel, not classified, unprocessed,
    not processed, untagged, to do, todo, to check, no cv result, problem, deleted, null, nan, na, n/a, no image,
    missing image, no data, corrupt, corrupted, corrupt image, bad image, broken image, camera malfunction,
    malfunction,
    sin clasificar, no clasificado, sin etiqueta, sin imagen,
    não classificado, sem classificação, sem etiqueta, sem imagem,
    non classé, non classée, non classifié, sans étiquette, pas d'image,
    nicht klassifiziert, unklassifiziert, ohne label, kein bild
"""

ANIMALS = """
    man of war, man o' war, old man bird, bicycle lizard, bicycle dragon, motorbike frog, boat billed, boat tailed,
    police car moth, human flea, human louse, human bot fly
"""
"""Names of animals that hold a word of people or vehicles; they are passed over where such words are looked for."""
