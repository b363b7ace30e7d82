//! The prefix tree, as the kernel walks it.
