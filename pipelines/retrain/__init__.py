"""`xmodal retrain`: from whatever has arrived to a decision about the champion."""
