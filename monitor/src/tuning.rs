//! Rates become proposed limits. Pure: the clock is passed in.
