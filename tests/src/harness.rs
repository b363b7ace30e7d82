//! One module per thing that a test needs: packets, captures, the kernel's answers, networks and daemons.

pub mod packet;
