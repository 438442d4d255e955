"""xmodal: image-text models for camera-trap archives, trained with momentum key encoders and queues.

Words of the method
    query encoder       what is trained: one tower (encoder and head) for images, one for texts
    key encoder         its exponential moving average; no gradient reaches it
    coefficient (m)     share of its old weights that the key encoder keeps in a step
    queue               keys of earlier batches, with the ids and codes that say what they are related to
    candidates          what a query is compared with: the global batch's keys, then the queue
    temperature (tau)   divisor of similarities before a softmax
    ITC, ITM, LM        the tasks: image-text contrast, image-text matching, captioning
    host, matcher       what scores pairs by attention between regions and words: SCAN, BFAN, PFAN, SGRAF
    CCR, CCS            contrastive content re-sourcing and swapping: constraints on a host's attention
    i2t, t2i            directions: images ask for texts, texts ask for images
    false negative      a candidate that is related to the query beside its own pair: see `xmodal.relations`
    R@k, rsum           recall among the first k; the sum of R@1, 5, 10 in both directions

Words of the field (Camtrap DP)
    deployment          a camera at a place for a time
    media, observation  a file; what is recorded of it
    event, sequence     frames taken in one burst
    blank               a frame without an animal, a person or a vehicle
    taxon               what kind of animal, at whatever rank
    attribute codes     (A,) integers: one code per attribute (species, count, light ...), -1 = unspecified

Shape letters, the same everywhere
    B  batch (a rank's rows)        L  text tokens            R  image regions or patches
    D  shared space                 K  queue                  V  vocabulary
    S  world size                   A  attributes             N  global batch          W  an encoder's width

Where to read on: `model` (one batch to losses), `encodings`, `queue`, `momentum`, `tasks/`; then `distributed` and
`checkpoint`.
"""
