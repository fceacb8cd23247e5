"""One page of a study on which tables sort and filter and every number leads to the records of its runs."""
