//! The thread that owns the database, so that a slow disk or a lock of another process delays nobody.
//!
//! In: jobs over a bounded queue. Out: their results within a bound. A job that did not begin in time is cancelled:
//! it is never done later behind the caller's back.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::Connection;

/// Jobs that may wait.
const QUEUE: usize = 256;
/// How long a caller waits before the engine runs: what was saved is read then, and a slow disk must not cost it.
const AT_THE_START: Duration = Duration::from_secs(5);
/// How long a caller waits once the engine runs.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the end of a process waits for jobs that are on their way.
const FAREWELL: Duration = Duration::from_secs(3);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const CANCELLED: u8 = 2;

pub(super) type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The other end of the thread.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<Arc<SyncSender<Job>>>,
    patience: Duration,
    ended: Receiver<()>,
}

impl Worker {
    pub fn start(mut connection: Connection) -> Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(QUEUE);
        let (end, ended) = sync_channel(1);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                while let Ok(job) = waiting.recv() {
                    job(&mut connection);
                }
                drop(connection);
                // Nobody listens after the farewell is over.
                let _ = end.send(());
            })
            .context("start the store's thread")?;
        Ok(Self { jobs: Some(Arc::new(jobs)), patience: AT_THE_START, ended })
    }

    /// From now on nobody waits for long.
    pub fn hurry(&mut self) {
        self.patience = PATIENCE;
    }

    /// Does `work` and waits for it.
    pub fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let state = Arc::new(AtomicU8::new(WAITING));
        let (reply, answer) = sync_channel(1);
        let theirs = Arc::clone(&state);
        self.send(move |connection| {
            if theirs.compare_exchange(WAITING, BEGUN, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                // A caller that went away learns nothing; the work is done all the same.
                let _ = reply.send(work(connection));
            }
        })?;
        match answer.recv_timeout(self.patience) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Disconnected) => bail!("the store's thread has ended"),
            Err(RecvTimeoutError::Timeout) => {
                let cancelled =
                    state.compare_exchange(WAITING, CANCELLED, Ordering::SeqCst, Ordering::SeqCst);
                if cancelled.is_ok() {
                    bail!("the store is busy: nothing was written");
                }
                // It has begun, so it may be done at this very moment.
                match answer.recv_timeout(self.patience) {
                    Ok(outcome) => outcome,
                    Err(_) => bail!("the disk does not answer: it is not certain that this was written"),
                }
            }
        }
    }

    /// For somebody else's jobs. It keeps the thread from nothing.
    pub fn entrance(&self) -> Weak<SyncSender<Job>> {
        self.jobs.as_ref().map(Arc::downgrade).unwrap_or_default()
    }

    /// Has `work` done without waiting for it.
    pub fn send(&self, work: impl FnOnce(&mut Connection) + Send + 'static) -> Result<()> {
        let jobs = self.jobs.as_ref().context("the store's thread has ended")?;
        jobs.try_send(Box::new(work)).ok().context("the store is busy: its queue is full")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        // A disk that hangs must not keep the process from ending.
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rusqlite::Connection;

    use super::Worker;

    #[test]
    fn a_job_that_takes_long_delays_nobody_and_what_waited_is_not_done_later() {
        let mut worker = Worker::start(Connection::open_in_memory().unwrap()).unwrap();
        worker.call(|connection| Ok(connection.execute_batch("CREATE TABLE t (n)")?)).unwrap();
        worker.hurry();
        worker.send(|_| std::thread::sleep(Duration::from_millis(800))).unwrap();
        let began = Instant::now();
        let refused = worker.call(|connection| Ok(connection.execute("INSERT INTO t VALUES (1)", [])?));
        assert!(refused.unwrap_err().to_string().contains("busy"));
        assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(900));
        let count = worker.call(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(count.unwrap(), 0);
    }
}
