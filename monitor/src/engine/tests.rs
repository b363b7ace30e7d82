//! The engine with a stand-in for the kernel.
