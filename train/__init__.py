"""Training, retraining and the comparison of networks; and the survey simulator that they run on."""
