"""One checked training catalogue from the tables of surveys: cross-matches, cuts, splits and labels."""
