"""Steps that number items, judge claims and write the report."""
