//! The configuration: a file and flags become a valid `Config`, or an error that names the key and the line.
