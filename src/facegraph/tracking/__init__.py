"""What is logged beyond the curves: settings, speed, pictures and faces of a run, report and dashboard of a sweep."""
