//! Where frames go: a pcapng file, lines for people, or lines of JSON.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ::capture::writer::{Frame, Writer};
use jiff::Timestamp;

use super::super::context::Output;
use super::super::table::clean;
use super::super::{Exit, Failure};
use super::seen::Seen;

/// The most that a frame of so many bytes takes in a file, with its comment and the interface it may be the first of.
pub fn room(data: usize) -> u64 {
    const AROUND: u64 = 512;
    data as u64 + AROUND
}

type Out = BufWriter<Box<dyn Write>>;

/// An output, and how much went into it.
pub struct Frames {
    form: Form,
    count: u64,
    bytes: u64,
    to_standard_output: bool,
}

enum Form {
    File { writer: Writer<Out>, interfaces: BTreeMap<String, u32>, snap: u32 },
    Lines(Out),
    Json(Out),
}

impl Frames {
    /// Opens the output. A file that is there already is not written over: it may be evidence.
    pub fn open(path: Option<&Path>, output: Output, snap: u32) -> Result<Self, Failure> {
        let to_standard_output = path.is_none_or(|path| path == Path::new("-"));
        let out: Box<dyn Write> = match path {
            Some(path) if !to_standard_output => Box::new(created(path)?),
            _ => Box::new(io::stdout()),
        };
        let out = BufWriter::new(out);
        let form = match (path, output) {
            (Some(_), _) => {
                let mut writer = Writer::new(out, concat!("sluice ", env!("CARGO_PKG_VERSION")))?;
                // So that a reader sees at once what comes.
                writer.flush()?;
                Form::File { writer, interfaces: BTreeMap::new(), snap }
            }
            (None, Output::Json) => Form::Json(out),
            (None, Output::Table) => Form::Lines(out),
        };
        Ok(Self { form, count: 0, bytes: 0, to_standard_output })
    }

    pub fn takes_standard_output(&self) -> bool {
        self.to_standard_output
    }

    pub fn take(&mut self, seen: &Seen<'_>) -> Result<(), Failure> {
        match &mut self.form {
            Form::File { writer, interfaces, snap } => {
                let interface = if let Some(number) = interfaces.get(&seen.interface) {
                    *number
                } else {
                    let number = writer.interface(&seen.interface, *snap)?;
                    interfaces.insert(seen.interface.clone(), number);
                    number
                };
                writer.frame(&Frame {
                    interface,
                    at_ns: seen.at_ns,
                    length: seen.length,
                    data: seen.data,
                    outbound: seen.outbound,
                    comment: &seen.comment(),
                })?;
                self.bytes = writer.written();
            }
            Form::Lines(out) => {
                let packet = seen.packet.as_deref().unwrap_or("not IP");
                let (at, comment) = (seen.at.strftime("%H:%M:%S%.3fZ"), seen.comment());
                let line = format!("{at} {packet} {} B  {comment}", seen.length);
                writeln!(out, "{}", clean(&line))?;
                self.bytes += line.len() as u64 + 1;
            }
            Form::Json(out) => {
                let line = serde_json::to_string(seen)
                    .map_err(|error| Failure::new(Exit::Failed, format!("show a frame: {error}")))?;
                writeln!(out, "{line}")?;
                self.bytes += line.len() as u64 + 1;
            }
        }
        self.count += 1;
        Ok(())
    }

    /// So that a reader has all that was taken.
    pub fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.form {
            Form::File { writer, .. } => writer.flush()?,
            Form::Lines(out) | Form::Json(out) => out.flush()?,
        }
        Ok(())
    }

    /// Writes what is to be known at the end: of a file, how many frames are not in it.
    pub fn finish(&mut self, selected: u64, missing: u64) -> Result<(), Failure> {
        if let Form::File { writer, interfaces, .. } = &mut self.form
            && let Some(first) = interfaces.values().min()
        {
            let now = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
            writer.statistics(*first, now, selected, missing)?;
        }
        self.flush()
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A new file that only its owner reads, for it holds what people sent; or what is there and is no file, such as a pipe.
fn created(path: &Path) -> Result<std::fs::File, Failure> {
    let shown = path.display();
    if path.metadata().is_ok_and(|about| about.is_file()) {
        let what = format!("{shown} is there already, and is not written over: name another file");
        return Err(Failure::new(Exit::Conflict, what));
    }
    let is_new = !path.exists();
    let opened = OpenOptions::new().write(true).create_new(is_new).mode(0o600).open(path);
    opened.map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::NotPermitted,
            io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("{shown} cannot be written: {error}"))
    })
}
