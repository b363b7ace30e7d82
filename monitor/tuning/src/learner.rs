//! What sources usually do, learned tick by tick.
//!
//! In: per-source deltas of one tick and whether the times are calm. Out: profiles that proposals are made from, and blobs
//! for the store. What was dropped or flagged, and everything during a flood or an open alert, teaches nothing.

use std::collections::HashMap;

use monitor_common::flow::Address;
use serde::{Deserialize, Serialize};

use super::aggregates::EVERYBODY;
use super::busiest::{Busiest, Distinct};
use super::parameters::Parameters;
use super::week::{LEARNED, SavedHour, Week, hour_of};

/// [`EVERYBODY`] among the kernel's numbers of classes.
const EVERYBODY_NUMBER: u32 = u32::MAX;

/// One interval, about a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// Wall clock at its end, Unix seconds.
    pub at: i64,
    /// Its length, on a clock that only goes forward.
    pub seconds: f64,
    /// An interface is in flood mode.
    pub flood: bool,
    /// A finding of attack is open.
    pub alert: bool,
}

/// What one source sent to one service in a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub service: u32,
    pub class: u32,
    /// Aggregated address.
    pub source: Address,
    pub packets: u64,
    pub bytes: u64,
    pub connections: u64,
    pub dropped: u64,
    /// Packets that the limit on trial would have dropped.
    pub trial_drops: u64,
    /// A finding is open about it.
    pub flagged: bool,
    /// Exempt, an operator or monitoring: must never be hit.
    pub protected: bool,
    /// It has proved its address, or where nothing can be proved, was there for long: what it sends is usual.
    pub established: bool,
}

/// Why nothing is learned and no step is taken at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    Flood,
    Alert,
    /// The last of either is too fresh.
    Thawing,
}

impl Freeze {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::Alert => "alert",
            Self::Thawing => "thawing",
        }
    }
}

/// A service and a class by name.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Subject {
    pub service: String,
    pub class: String,
}

/// All profiles.
#[derive(Debug, Default)]
pub struct Learner {
    profiles: Vec<(Subject, Profile)>,
    /// Names of the kernel's numbers, set anew with every change of the rules.
    names: HashMap<(u32, u32), Subject>,
    /// Position in `profiles` of a kernel's pair, as far as it was met; `None` when there is no room or no name.
    positions: HashMap<(u32, u32), Option<usize>>,
    freeze: Option<Freeze>,
    /// Last moment of flood or alert.
    last_trouble: Option<i64>,
    last_hour: Option<i64>,
    /// Samples of pairs that there was no room for.
    pub not_learned: u64,
}

/// What is known of one service and class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    pub week: Week,
    pub about: About,
}

/// A profile without its distributions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// By packets, bytes and connections per second.
    pub busiest: [Busiest; LEARNED],
    /// The same, of sources that must never be hit.
    pub protected: [Busiest; LEARNED],
    pub distinct: Distinct,
    /// Hours observed since the present period of the busiest began.
    period_hours: f64,
    /// Source-seconds that taught, and that were left out because something was dropped or flagged.
    pub taught_seconds: f64,
    pub left_out_seconds: f64,
    /// Seconds observed at all, not faded.
    pub learned_seconds: f64,
}

impl Sample {
    /// What established sources of each service together sent and was not dropped, as a sample of everybody.
    pub fn together(samples: &[Self]) -> Vec<Self> {
        let mut sums: Vec<Self> = Vec::new();
        for sample in samples.iter().filter(|sample| sample.established && !sample.flagged) {
            let position = sums.iter().position(|sum| sum.service == sample.service).unwrap_or_else(|| {
                sums.push(Self {
                    service: sample.service,
                    class: EVERYBODY_NUMBER,
                    established: true,
                    ..Self::default()
                });
                sums.len() - 1
            });
            let sum = &mut sums[position];
            sum.packets += sample.packets.saturating_sub(sample.dropped);
            sum.bytes += sample.bytes;
            sum.connections += sample.connections;
        }
        sums
    }
}

impl Learner {
    /// Says what the kernel's numbers of services and classes are called from now on.
    pub fn rename(&mut self, services: &[(u32, String)], classes: &[(u32, String)]) {
        self.names.clear();
        self.positions.clear();
        for (service_number, service) in services {
            let everybody = (EVERYBODY_NUMBER, EVERYBODY.to_owned());
            for (class_number, class) in classes.iter().chain([&everybody]) {
                let subject = Subject { service: service.clone(), class: class.clone() };
                self.names.insert((*service_number, *class_number), subject);
            }
        }
    }

    /// Learns one tick. Intervals that are no second (the daemon slept, the clock stood) teach nothing.
    pub fn observe(
        &mut self,
        tick: Tick,
        samples: impl IntoIterator<Item = Sample>,
        parameters: &Parameters,
    ) {
        self.freeze = self.judge(tick, parameters);
        if self.freeze.is_some() || !(0.2..=10.0).contains(&tick.seconds) {
            return;
        }
        let hour = hour_of(tick.at);
        // A new hour on any path: profiles of silent services fade as well.
        let absolute_hour = tick.at.div_euclid(3_600);
        let turned = self.last_hour.replace(absolute_hour).is_some_and(|last| last != absolute_hour);
        for (_, profile) in &mut self.profiles {
            profile.begin(hour, tick.seconds, turned, parameters);
        }
        let (mut kind, mut position) = ((u32::MAX, u32::MAX), None);
        for sample in samples {
            // Most samples come in rows of a kind.
            if kind != (sample.service, sample.class) {
                kind = (sample.service, sample.class);
                position = self.position(kind, hour, tick, parameters);
            }
            match position.and_then(|position| self.profiles.get_mut(position)) {
                Some((_, profile)) => profile.learn(&sample, tick, parameters.top_sources),
                None => self.not_learned += 1,
            }
        }
    }

    fn position(
        &mut self,
        kind: (u32, u32),
        hour: usize,
        tick: Tick,
        parameters: &Parameters,
    ) -> Option<usize> {
        if let Some(known) = self.positions.get(&kind) {
            return *known;
        }
        let position = self.names.get(&kind).and_then(|subject| {
            let known = self.profiles.iter().position(|(known, _)| known == subject);
            if known.is_some() || self.profiles.len() >= parameters.profiles {
                return known;
            }
            let mut profile = Profile::default();
            profile.begin(hour, tick.seconds, false, parameters);
            self.profiles.push((subject.clone(), profile));
            Some(self.profiles.len() - 1)
        });
        self.positions.insert(kind, position);
        position
    }

    fn judge(&mut self, tick: Tick, parameters: &Parameters) -> Option<Freeze> {
        if tick.flood || tick.alert {
            self.last_trouble = Some(tick.at);
            return Some(if tick.flood { Freeze::Flood } else { Freeze::Alert });
        }
        let since = tick.at.saturating_sub(self.last_trouble?);
        // A wall clock that was set back must not freeze for years: the trouble counts from now.
        if since < 0 {
            self.last_trouble = Some(tick.at);
        }
        let thaw = i64::try_from(parameters.auto.thaw_minutes).unwrap_or(i64::MAX).saturating_mul(60);
        if since < thaw {
            return Some(Freeze::Thawing);
        }
        self.last_trouble = None;
        None
    }

    /// The kernel's numbers of a service and class.
    pub fn number_of(&self, subject: &Subject) -> Option<(u32, u32)> {
        self.names.iter().find(|(_, known)| *known == subject).map(|(kind, _)| *kind)
    }

    /// Why nothing is learned at present.
    pub fn freeze(&self) -> Option<Freeze> {
        self.freeze
    }

    /// The profile of a service and class.
    pub fn profile(&self, subject: &Subject) -> Option<&Profile> {
        self.profiles.iter().find(|(known, _)| known == subject).map(|(_, profile)| profile)
    }

    /// Every service and class that something is known of.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.profiles.iter().map(|(subject, _)| subject).filter(|subject| subject.class != EVERYBODY)
    }

    /// Every service of which it is known what all sources together send, with its profile.
    pub fn together(&self) -> impl Iterator<Item = (&str, &Profile)> {
        let all = self.profiles.iter().filter(|(subject, _)| subject.class == EVERYBODY);
        all.map(|(subject, profile)| (subject.service.as_str(), profile))
    }

    /// The name of a service by the kernel's number.
    pub fn service(&self, number: u32) -> Option<&str> {
        Some(self.names.get(&(number, EVERYBODY_NUMBER))?.service.as_str())
    }

    /// Forgets what is known of a service, for one that was rebuilt; says of how many classes something was.
    pub fn forget(&mut self, service: &str) -> usize {
        let of_service = self.subjects().filter(|subject| subject.service == service).count();
        self.profiles.retain(|(subject, _)| subject.service != service);
        self.positions.clear();
        of_service
    }

    /// Bytes of heap of all profiles.
    pub fn memory_bytes(&self) -> usize {
        self.profiles.iter().map(|(_, profile)| profile.memory_bytes()).sum()
    }

    /// What changed since the last call, as blobs for the store: at most about 15 kB per
    /// profile (an hour, the unfinished hour and the lists).
    pub fn save(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut blobs = Vec::new();
        for (subject, profile) in &mut self.profiles {
            let key = |part: &str| format!("{}/{}/{part}", subject.service, subject.class);
            for (hour, saved) in profile.week.take_new() {
                blobs.push((key(&format!("{hour:03}")), saved.to_bytes()));
            }
            if let Some((hour, saved)) = profile.week.unfinished() {
                let mut bytes = u8::try_from(hour).unwrap_or(0).to_le_bytes().to_vec();
                bytes.extend(saved.to_bytes());
                blobs.push((key("now"), bytes));
            }
            // Plain numbers and lists: writing them cannot fail.
            blobs.extend(serde_json::to_vec(&profile.about).ok().map(|about| (key("about"), about)));
        }
        blobs
    }

    /// Takes back what [`Self::save`] gave; says which keys could not be read.
    pub fn restore(&mut self, blobs: &[(String, Vec<u8>)]) -> Vec<String> {
        let mut unreadable = Vec::new();
        for (key, value) in blobs {
            if self.restore_one(key, value).is_none() {
                unreadable.push(key.clone());
            }
        }
        unreadable
    }

    fn restore_one(&mut self, key: &str, value: &[u8]) -> Option<()> {
        let mut parts = key.rsplitn(3, '/');
        let (part, class, service) = (parts.next()?, parts.next()?, parts.next()?);
        let subject = Subject { service: service.to_owned(), class: class.to_owned() };
        let position = self.profiles.iter().position(|(known, _)| *known == subject).unwrap_or_else(|| {
            self.profiles.push((subject, Profile::default()));
            self.profiles.len() - 1
        });
        let (_, profile) = self.profiles.get_mut(position)?;
        match part {
            "about" => {
                let about: About = serde_json::from_slice(value).ok()?;
                profile.about = Some(about).filter(|about| about.distinct.is_sane())?;
            }
            "now" => {
                let (hour, saved) = value.split_first()?;
                let saved = SavedHour::from_bytes(saved)?;
                profile.week.restore_unfinished(usize::from(*hour), &saved).then_some(())?;
            }
            hour => {
                let saved = SavedHour::from_bytes(value)?;
                profile.week.restore(hour.parse().ok()?, saved).then_some(())?;
            }
        }
        Some(())
    }
}

impl Profile {
    fn begin(&mut self, hour: usize, seconds: f64, turned: bool, parameters: &Parameters) {
        self.week.begin(hour, seconds, parameters.half_life_weeks);
        self.about.learned_seconds += seconds;
        self.about.period_hours += seconds / 3_600.0;
        // The busiest fade in steps of a half-life, as the distributions do.
        if turned && self.about.period_hours >= 168.0 * parameters.half_life_weeks {
            self.about.period_hours = 0.0;
            for busiest in self.about.busiest.iter_mut().chain(&mut self.about.protected) {
                busiest.turn();
            }
            self.about.distinct.turn();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "2^53 packets a second are not reached")]
    fn learn(&mut self, sample: &Sample, tick: Tick, most: usize) {
        if sample.packets == 0 {
            return;
        }
        let about = &mut self.about;
        if sample.dropped > 0 || sample.flagged {
            about.left_out_seconds += tick.seconds;
            return;
        }
        let rates =
            [sample.packets, sample.bytes, sample.connections].map(|count| count as f64 / tick.seconds);
        about.taught_seconds += tick.seconds;
        about.distinct.see(&sample.source);
        let lists = if sample.protected { &mut about.protected } else { &mut about.busiest };
        for (list, rate) in lists.iter_mut().zip(rates) {
            list.see(&sample.source, rate, tick.seconds, tick.at, most);
        }
        self.week.add(rates, tick.seconds);
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        let lists = self.about.busiest.iter().chain(&self.about.protected);
        self.week.memory_bytes() + lists.map(Busiest::memory_bytes).sum::<usize>() + 512
    }
}
