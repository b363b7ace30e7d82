//! The kernel side from userspace: load, attach, write rules, read counters. The only code that names aya.
