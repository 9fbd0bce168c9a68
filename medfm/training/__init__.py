"""Loop on Lightning Fabric, schedules, augmentation, checkpoints, recipes."""
