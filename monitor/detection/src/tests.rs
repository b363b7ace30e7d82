//! Traffic of the project's own making, both sides of every threshold.

mod beacons;
mod campaigns;
mod floods;
mod hygiene;
mod known;
mod learned;
mod mechanisms;
mod plain_text;
mod room;
mod scans;
pub mod scene;
mod traps;
mod volumes;
