"""One comparison: prepare the data, run the methods, join added results, measure, judge, and keep what was found."""
