"""What a model knows of images without labels, in forms that people's tools read.

`frames` what is asked about, in `dataset_frames` or `folder_frames`; `vectors` what the model makes of each, kept so
that a killed run goes on; `ladder` the taxa at every rank, `trust` temperature and thresholds that `evaluate` found;
`answers` one answer a frame or event, with its reason in words; `table`, `camtrap_dp`, `camtrap_append` and
`megadetector` the files; `flow` all of it.
"""
