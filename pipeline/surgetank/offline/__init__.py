"""Offline computation of features, and its comparison with the features that workers computed."""
