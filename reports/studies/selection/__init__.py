"""The number of clusters, and the covariance structure, by every criterion; the page is `reports.page.selection`."""
