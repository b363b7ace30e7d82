//! The table `[detection.beacon]`.

use serde::{Deserialize, Serialize};

/// `[detection.beacon]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Score from which a pair is flagged.
    pub score: f64,
    /// Starts or bursts below which nothing is said.
    pub least_beats: usize,
    /// Beats faster than this need `fast_beats` of them to be more than `info`.
    pub fast_period_s: f64,
    pub fast_beats: usize,
    /// Beats faster than this are not beacons.
    pub least_period_s: f64,
    /// The same within one conversation.
    pub least_burst_period_s: f64,
    /// A service that this many inside hosts talk to is `info`.
    pub prevalent: usize,
    /// Regularity of bursts within one conversation from which they are more than `info`: people and processes that react
    /// to each other are regular too, programs on a timer are more so.
    pub burst_regularity: f64,
    /// Timers of honest programs are exact to this share of their period; who adds jitter does not want to be seen.
    pub exact: f64,
    /// Polls that bring nothing new are alike to this share of their size.
    pub alike_sizes: f64,
    /// Honest programs that have something to ask more often than this keep a connection open.
    pub often_s: f64,
    /// What is sent now and then, and is four times what is usually sent: the result of a task.
    pub upload_bytes: f64,
    /// Regular destinations of one source that make them its agents, or its monitoring.
    pub several: usize,
    /// Answers larger than this (median) are streaming or polling of content: `info`.
    pub bulk_bytes: f64,
    /// The same for bursts within one conversation.
    pub burst_bulk_bytes: f64,
    /// Bursts that send no more than this (median) keep a conversation open and say nothing: `info`.
    pub keep_alive_bytes: f64,
    /// Calls over plain HTTP that send and receive less than this are connectivity checks: `info`.
    pub check_bytes: (f64, f64),
    /// UDP ports whose conversations never beacon: they are regular by design, and small both ways.
    pub ignored_ports: Vec<u16>,
    /// Ports where people log in, where regular connections are guessing before they are a beacon, and where mail is
    /// polled: `info`.
    pub login_ports: Vec<u16>,
    /// Ports where programs keep a conversation open with heartbeats.
    pub heartbeat_ports: Vec<u16>,
    /// Ports on which programs call outside servers.
    pub usual_ports: Vec<u16>,
    /// Calls to an address that nobody resolved, however irregular, that are worth a word.
    pub unnamed_calls: usize,
    /// How long answers of resolvers are remembered: calls without a query over a shorter time say nothing.
    pub names_last_s: u64,
    /// A source that calls more addresses than this without a name is a peer among peers.
    pub unnamed_peers: usize,
    pub pairs: usize,
    /// Conversations whose bursts are followed.
    pub conversations: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            score: 0.8,
            least_beats: 10,
            fast_period_s: 5.0,
            fast_beats: 30,
            least_period_s: 1.0,
            least_burst_period_s: 3.0,
            prevalent: 3,
            burst_regularity: 0.95,
            exact: 0.04,
            alike_sizes: 0.015,
            often_s: 45.0,
            upload_bytes: 1500.0,
            several: 3,
            bulk_bytes: 65_536.0,
            burst_bulk_bytes: 8192.0,
            keep_alive_bytes: 128.0,
            check_bytes: (130.0, 350.0),
            ignored_ports: vec![53, 67, 68, 111, 123, 137, 138, 161, 514, 546, 547, 1900, 5353, 5355],
            login_ports: vec![
                21, 22, 23, 25, 110, 139, 143, 445, 465, 587, 993, 995, 2222, 3389, 5900, 5901, 5985,
            ],
            heartbeat_ports: vec![
                22, 88, 135, 139, 143, 179, 389, 443, 445, 500, 636, 993, 1194, 1433, 1883, 3268, 3306, 3389,
                853, 3478, 3479, 3480, 3481, 3544, 4500, 5060, 5061, 5222, 5223, 5228, 5432, 5671, 5672,
                6379, 8883, 9092, 27017, 51820,
            ],
            usual_ports: vec![80, 443, 465, 587, 993, 995, 853, 1883, 5222, 5223, 5228, 8883],
            unnamed_calls: 6,
            names_last_s: 900,
            unnamed_peers: 16,
            pairs: 16_384,
            conversations: 16_384,
        }
    }
}
