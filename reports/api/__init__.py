"""What Python users call: one study a file, whose result shows, plots and saves itself."""
