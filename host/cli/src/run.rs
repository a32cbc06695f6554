//! `weir run`: a job on a thread of its own; this one watches over it.

use crate::args;
use crate::edge::Edge;
use crate::exit::{Failure, INTERRUPTED};
use crate::http::{self, Probes};
use crate::logging::Format;
use crate::otlp::Traces;
use crate::progress::{Meter, live_line, log_event, mean, nothing_new, summary};
use crate::terminal::Terminal;
use std::io::{IsTerminal, stdout};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use weir_host::checkpoint::Location;
use weir_host::fault::Kind;
use weir_host::job::{self, Control, Prepared, Settings, StartFrom};
use weir_host::metrics::JobMetrics;
use weir_spec::{Job, SinkConnector};

/// Between two redraws of the progress line.
const REDRAW: Duration = Duration::from_millis(250);
/// Between two progress events in the log.
const LOG: Duration = Duration::from_secs(10);

/// A job that has not begun to read is given this long to see that it is to stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// Set once, when the components are loaded.
type Metrics = Arc<OnceLock<Arc<JobMetrics>>>;

enum Event {
    Signal,
    Ended(Result<(), job::Error>),
}

/// Reads the job file at `path`.
pub fn read(path: &Path) -> Result<Job, Failure> {
    weir_spec::read(path).map_err(Failure::usage)
}

/// The folder that paths in the job file are relative to.
pub fn base_dir(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Runs a job until it ends, is told to stop, or fails.
pub fn run(args: &args::Run, surroundings: Settings, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let job = read(&args.job)?;
    let traces = Traces::start(&job.metadata.name, &surroundings.environment)?;
    let settings = Settings {
        base_dir: base_dir(&args.job),
        workers: args.workers.map(usize::from),
        batch_records: args.batch_records.and_then(|n| n.try_into().ok()),
        fresh: args.fresh,
        from: begins_with(args),
        allow_non_restored_state: args.allow_non_restored_state,
        tracer: traces.tracer(),
        until_end: args.until_end,
        fresh_instance_per_batch: args.fresh_instance_per_batch,
        ..surroundings
    };
    let metrics = Metrics::default();
    let voice = Voice { terminal: terminal.clone(), format: args.log_format, live: is_live(&job, args.log_format, terminal) };
    let control = Control::new();
    let still = Duration::from_secs(args.still_after);
    let listener = listen(&job, args, &voice)?.map(|listener| (listener, probes(&metrics, &control, still)));
    // Room for more signals than anybody sends: one that finds no place is one of many.
    let (events, received) = sync_channel(16);
    let signals = events.clone();
    let edge = Edge::start(listener, move || drop(signals.try_send(Event::Signal)));
    let _edge = edge.map_err(|e| Failure::world(format_args!("cannot listen for signals: {e}")))?;

    let name = job.metadata.name.clone();
    let thread = start(job, settings, metrics.clone(), control.clone(), events)?;
    let watch = Watch { name, control, metrics, voice, traces, begun: Instant::now() };
    watch.until_end(&received, thread)
}

fn begins_with(args: &args::Run) -> Option<StartFrom> {
    let savepoint = args.from_savepoint.as_deref().map(|place| StartFrom::Savepoint(Location::parse(place)));
    savepoint.or(args.from_checkpoint.map(StartFrom::Checkpoint))
}

/// Loads and runs the job on a thread of its own, which ends with [`Event::Ended`].
fn start(
    job: Job,
    settings: Settings,
    metrics: Metrics,
    control: Arc<Control>,
    events: SyncSender<Event>,
) -> Result<JoinHandle<()>, Failure> {
    let whole = move || {
        let prepared = Prepared::new(job, settings)?;
        metrics.get_or_init(|| prepared.metrics());
        job::run(&prepared, &control).map(drop)
    };
    // The receiver is gone only when the process ends.
    let body = move || drop(events.send(Event::Ended(whole())));
    Builder::new().name("weir-job".into()).spawn(body).map_err(|e| Failure::world(format_args!("cannot start a thread: {e}")))
}

/// Opens the monitoring port, where one is asked for.
fn listen(job: &Job, args: &args::Run, voice: &Voice) -> Result<Option<TcpListener>, Failure> {
    let runtime = &job.spec.runtime;
    let Some(port) = args.metrics_port.or(runtime.metrics_port) else { return Ok(None) };
    let address = SocketAddr::new(runtime.metrics_address, port);
    let (listener, address) = http::bind(address).map_err(|e| Failure::world(format_args!("cannot listen on {address}: {e}")))?;
    voice.say(&format!("metrics on http://{address}/metrics"));
    Ok(Some(listener))
}

fn probes(metrics: &Metrics, control: &Arc<Control>, still: Duration) -> Probes {
    let (text, state, workers, control) = (metrics.clone(), metrics.clone(), metrics.clone(), control.clone());
    Probes {
        // What OpenMetrics says when there are no metrics.
        metrics: Box::new(move || text.get().map_or_else(|| "# EOF\n".into(), |m| m.encode())),
        alive: Box::new(move || match workers.get().and_then(|m| m.standing_still(still)) {
            Some((worker, time)) => Err(format!("worker {worker} has stood still for {} s", time.as_secs())),
            None => Ok(()),
        }),
        ready: Box::new(move || match state.get().map(|m| m.snapshot()) {
            None => Err("loading components"),
            Some(_) if control.stopping() => Err("draining"),
            Some(snapshot) if !snapshot.ready => Err("restoring"),
            Some(_) => Ok(()),
        }),
    }
}

/// Whether to redraw a line: not between the records that a sink writes to the same terminal.
fn is_live(job: &Job, format: Format, terminal: &Terminal) -> bool {
    let to_stdout = job.spec.sinks.iter().any(|sink| matches!(sink.connector(), SinkConnector::Stdout(_)));
    terminal.is_live() && format == Format::Text && !(to_stdout && stdout().is_terminal())
}

/// How the run speaks to its user.
struct Voice {
    terminal: Terminal,
    format: Format,
    /// Whether progress is a line that is redrawn.
    live: bool,
}

impl Voice {
    /// What is to be seen at any log level; with JSON logs every line has to be JSON.
    fn say(&self, text: &str) {
        match self.format {
            Format::Text => self.terminal.line(&format!("weir: {text}")),
            Format::Json => tracing::info!("{text}"),
        }
    }
}

struct Watch {
    name: String,
    control: Arc<Control>,
    metrics: Metrics,
    voice: Voice,
    traces: Traces,
    begun: Instant,
}

impl Watch {
    /// Passes signals on and shows progress until the job has ended.
    fn until_end(&self, events: &Receiver<Event>, thread: JoinHandle<()>) -> Result<ExitCode, Failure> {
        let mut meter = Meter::default();
        let mut stopping: Option<Instant> = None;
        let mut logged = self.begun;
        loop {
            match events.recv_timeout(REDRAW) {
                Ok(Event::Signal) if stopping.is_some() || self.metrics.get().is_none() => {
                    self.voice.terminal.status("");
                    self.traces.abandon();
                    return Ok(ExitCode::from(INTERRUPTED));
                }
                Ok(Event::Signal) => {
                    stopping = Some(Instant::now());
                    self.control.stop();
                    self.voice.say("stopping after what is under way; a second signal ends at once");
                }
                Ok(Event::Ended(result)) => return self.end(result),
                Err(RecvTimeoutError::Timeout) if !thread.is_finished() && self.has_nothing_to_drain(stopping) => {
                    self.voice.terminal.status("");
                    self.traces.abandon();
                    self.voice.say("stopped; the job was waiting to begin, so there was nothing to commit");
                    return Ok(ExitCode::SUCCESS);
                }
                Err(RecvTimeoutError::Timeout) if !thread.is_finished() => self.progress(&mut meter, &mut logged),
                // The thread's last word may have come between the time-out and the question.
                Err(_) => match events.try_recv() {
                    Ok(Event::Ended(result)) => return self.end(result),
                    Ok(Event::Signal) => {}
                    Err(_) => {
                        self.voice.terminal.status("");
                        return Err(Failure::new(Kind::Bug, "the job's thread panicked"));
                    }
                },
            }
        }
    }

    /// Whether the job was told to stop and has nothing under way: it waits for a broker, in a call that may take long.
    fn has_nothing_to_drain(&self, stopping: Option<Instant>) -> bool {
        let is_ready = self.metrics.get().is_some_and(|m| m.snapshot().ready);
        stopping.is_some_and(|since| since.elapsed() > PATIENCE) && !is_ready
    }

    fn progress(&self, meter: &mut Meter, logged: &mut Instant) {
        let now = Instant::now();
        let time = now.duration_since(self.begun);
        let snapshot = self.metrics.get().map(|m| m.snapshot());
        let rates = snapshot.as_ref().map(|s| meter.observe(time, s)).unwrap_or_default();
        if self.voice.live {
            self.voice.terminal.status(&live_line(&self.name, time, snapshot.as_ref(), rates));
        } else if let Some(snapshot) = snapshot
            && now.duration_since(*logged) >= LOG
        {
            *logged = now;
            log_event("running", &snapshot, rates);
        }
    }

    fn end(&self, result: Result<(), job::Error>) -> Result<ExitCode, Failure> {
        self.voice.terminal.status("");
        if let Some(metrics) = self.metrics.get() {
            let (time, snapshot) = (self.begun.elapsed(), metrics.snapshot());
            match self.voice.format {
                Format::Text => self.voice.say(&summary(&self.name, time, &snapshot)),
                Format::Json => log_event("ended", &snapshot, mean(time, &snapshot)),
            }
        }
        match result {
            Ok(()) => {
                let snapshot = self.metrics.get().map(|metrics| metrics.snapshot());
                if let Some(hint) = snapshot.filter(|_| !self.control.stopping()).and_then(|snapshot| nothing_new(&snapshot)) {
                    self.voice.say(hint);
                }
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Err(Failure::new(error.kind(), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_job_file_named_without_a_folder_start_here() {
        assert_eq!(base_dir(Path::new("job.yaml")), Path::new("."));
        assert_eq!(base_dir(Path::new("jobs/a/job.yaml")), Path::new("jobs/a"));
        assert_eq!(base_dir(Path::new("/job.yaml")), Path::new("/"));
    }

    #[test]
    fn a_job_whose_components_are_being_loaded_is_not_ready_and_has_no_metrics() {
        let probes = probes(&Metrics::default(), &Control::new(), Duration::from_secs(30));
        assert_eq!((probes.ready)(), Err("loading components"));
        assert_eq!((probes.metrics)(), "# EOF\n");
    }
}
