//! Records become findings. Pure: the clock is passed in.
