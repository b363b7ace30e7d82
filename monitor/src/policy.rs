//! Desired rules, and the difference to what is installed. Pure.
