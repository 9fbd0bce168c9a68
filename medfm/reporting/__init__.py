"""Result folder, plots, HTML report and card writer."""
