//! The command line.

use crate::logging;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const STATUSES: &str = "\
Exit status:
    0  the job ended in order
    1  a bug in Weir
    2  a bad job file, or a wrong command
    3  something that the job needs does not work: broker, disk, network
    4  the start was refused: what is stored does not fit the job
    5  another process has taken the job over
    6  a user function stopped the job
  130  ended by a second signal";

/// A stream processor whose functions are WebAssembly components.
///
/// A job file names sources, operators and sinks; the operators' functions are components, built from any language that
/// compiles to one. Start with `weir check` to see what a job file means, then `weir run`.
#[derive(Debug, Parser)]
#[command(name = "weir", bin_name = "weir", version, after_long_help = STATUSES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands; the help of those with arguments stands at these.
#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Run),
    Check(Check),
    Savepoint(Savepoint),
    Stop(Stop),
    State(State),
    Inspect(Inspect),
    Topics(Topics),
    /// Print a script that completes commands and options in a shell
    #[command(after_help = "Example:\n  weir completions bash > ~/.local/share/bash-completion/completions/weir")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

const RUN_EXAMPLES: &str = "\
SIGTERM and SIGINT (Ctrl-C) stop the job in order: what was read is processed and committed. A second one ends the
process at once; nothing is lost then either, the next start goes on from the last commit.

Examples:
  weir run job.yaml
  weir run job.yaml --until-end --metrics-port 0
  weir run job.yaml --from-savepoint savepoints/before-the-change
  weir run job.yaml --log-format json --log weir_host=debug,info";

/// Run a job in this process until it ends or is told to stop.
///
/// The job goes on where its last run has committed. While it runs, a line on the terminal shows its progress; without
/// a terminal, a log line does every ten seconds.
#[derive(Debug, Args)]
#[command(after_long_help = RUN_EXAMPLES, group(ArgGroup::new("begins_with").args(["from_savepoint", "from_checkpoint"])))]
pub struct Run {
    /// The job file; paths in it are relative to its folder
    #[arg(value_name = "JOB.yaml")]
    pub job: PathBuf,
    /// End when everything that the sources held at the start is processed and committed
    #[arg(long)]
    pub until_end: bool,
    /// Start from nothing: leave the positions and the state of earlier runs behind
    #[arg(long)]
    pub fresh: bool,
    /// Start a new run with the state and positions of this savepoint. A run that began with it goes on, so the option may
    /// stay over restarts; with --fresh it begins with it once more
    #[arg(long, value_name = "FOLDER|s3://BUCKET/PREFIX")]
    pub from_savepoint: Option<String>,
    /// Start a new run with a checkpoint of the job itself, the last one or that of EPOCH: where its committed offsets are lost,
    /// or what came after is to be undone. A run that began so goes on, as with --from-savepoint
    #[arg(long, value_name = "EPOCH", num_args = 0..=1, require_equals = true)]
    pub from_checkpoint: Option<Option<u64>>,
    /// Leave state and positions of the savepoint or checkpoint behind that nothing in the job claims
    #[arg(long, requires = "begins_with")]
    pub allow_non_restored_state: bool,
    /// Worker threads, instead of `spec.runtime.workers`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// The most records of a batch, instead of `spec.runtime.batchRecords`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch_records: Option<u32>,
    /// A new instance for each call: shows a function that keeps state of its own
    #[arg(long, hide = true)]
    pub fresh_instance_per_batch: bool,
    /// Port of /metrics, /healthz and /readyz, instead of `spec.runtime.metricsPort`; 0 takes a free one and prints it
    #[arg(long, value_name = "PORT")]
    pub metrics_port: Option<u16>,
    /// Seconds after which a worker that does not go on makes /healthz fail
    #[arg(long, hide = true, default_value_t = 30)]
    pub still_after: u64,
    /// How log lines are written to stderr
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub log_format: logging::Format,
    /// Level of the log, or a filter such as `weir_host=debug,info`; otherwise WEIR_LOG or RUST_LOG
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Folder in which compiled components are kept; by default weir/components in the user's cache folder
    #[arg(long, value_name = "DIR")]
    pub component_cache: Option<PathBuf>,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  weir check job.yaml
  weir check job.yaml --format mermaid > plan.mmd
  weir check job.yaml --format json | jq '.operators[].states'";

/// Read a job file, load its components, and show the plan; nothing is started.
///
/// Reports every mistake in the job file with its line, and what each component imports and declares. Topics and
/// brokers are not looked at.
#[derive(Debug, Args)]
#[command(after_long_help = CHECK_EXAMPLES)]
pub struct Check {
    /// The job file; paths in it are relative to its folder
    #[arg(value_name = "JOB.yaml")]
    pub job: PathBuf,
    /// How the plan is shown
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: PlanFormat,
    /// Folder in which compiled components are kept; by default weir/components in the user's cache folder
    #[arg(long, value_name = "DIR")]
    pub component_cache: Option<PathBuf>,
}

const SAVEPOINT_EXAMPLES: &str = "\
Examples:
  weir savepoint job.yaml savepoints/monday
  weir run job.yaml --from-savepoint savepoints/monday
  weir state list savepoints/monday";

/// Take a savepoint of a running job: a whole copy of its state and positions, which the job never changes or deletes.
///
/// It is taken of the next commit, while the job goes on. A job starts from it with `weir run --from-savepoint`, with any
/// number of workers.
#[derive(Debug, Args)]
#[command(after_long_help = SAVEPOINT_EXAMPLES)]
pub struct Savepoint {
    /// The job file, or the job's state folder
    #[arg(value_name = "JOB.yaml|STATE")]
    pub place: PathBuf,
    /// The place to write it into; a folder is made, or has to be empty
    #[arg(value_name = "FOLDER|s3://BUCKET/PREFIX")]
    pub to: String,
    /// Seconds to wait for it
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
}

const STOP_EXAMPLES: &str = "\
Examples:
  weir stop job.yaml
  weir stop job.yaml --drain
  weir stop job.yaml --savepoint savepoints/before-the-change";

/// Stop a running job in order: what was read is processed and committed.
///
/// With a savepoint the run is closed: it cannot be started again but from a savepoint, or with --fresh.
#[derive(Debug, Args)]
#[command(after_long_help = STOP_EXAMPLES)]
pub struct Stop {
    /// The job file, or the job's state folder
    #[arg(value_name = "JOB.yaml|STATE")]
    pub place: PathBuf,
    /// First process all that the sources hold now; generators and standard input end at once
    #[arg(long)]
    pub drain: bool,
    /// Take a savepoint of the end into this place; a folder is made, or has to be empty
    #[arg(long, value_name = "FOLDER|s3://BUCKET/PREFIX")]
    pub savepoint: Option<String>,
    /// Seconds to wait for the end
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
}

const STATE_EXAMPLES: &str = "\
Examples:
  weir state list job.yaml
  weir state get job.yaml --operator count --state count some-key
  weir state dump .weir/word-count --epoch 17 | jq 'select(.shard == 3)'";

/// Look into the state of a job: list checkpoints, get a key's entries, dump them all.
///
/// Reads the checkpoints only, so the job may be running, and nothing is changed. Values are the function's own bytes:
/// they are shown as text where they are UTF-8, and otherwise as base64.
#[derive(Debug, Args)]
#[command(after_long_help = STATE_EXAMPLES)]
pub struct State {
    /// What to do.
    #[command(subcommand)]
    pub command: StateCommand,
}

/// What to do with state.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// List the checkpoints with their operators, states and positions; the newest may not be committed yet
    List {
        /// The job file, the job's state folder, or where a store or a savepoint is
        #[arg(value_name = "JOB.yaml|FOLDER|s3://BUCKET/PREFIX")]
        place: String,
    },
    /// Print the entries of one key as lines of JSON
    Get {
        #[command(flatten)]
        which: WhichState,
        /// The record's key
        #[arg(value_name = "KEY")]
        key: String,
        /// The key in the map, where the state is a map
        #[arg(value_name = "MAP-KEY")]
        map_key: Option<String>,
    },
    /// Print all entries as lines of JSON, in the order of operator, shard, state and key
    Dump {
        #[command(flatten)]
        which: WhichState,
    },
}

/// Of which state entries are printed.
#[derive(Debug, Args)]
pub struct WhichState {
    /// The job file, the job's state folder, or where a store or a savepoint is
    #[arg(value_name = "JOB.yaml|FOLDER|s3://BUCKET/PREFIX")]
    pub place: String,
    /// The checkpoint of this epoch, instead of the newest
    #[arg(long, value_name = "N")]
    pub epoch: Option<u64>,
    /// Of this operator only
    #[arg(long, value_name = "ID")]
    pub operator: Option<String>,
    /// Of the states of this name only
    #[arg(long, value_name = "NAME")]
    pub state: Option<String>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  weir inspect guest-examples/bin/count.wasm
  weir inspect parse.wasm --config '{\"pattern\": \"^(?<a>.*)$\"}'";

/// Show what a component is: its function, what it declares and imports, its size and digest.
///
/// Its `init` is run once, within the default limits, to learn what it declares.
#[derive(Debug, Args)]
#[command(after_long_help = INSPECT_EXAMPLES)]
pub struct Inspect {
    /// The component
    #[arg(value_name = "COMPONENT.wasm")]
    pub component: PathBuf,
    /// The configuration for `init`, JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    pub config: String,
    /// Folder in which compiled components are kept; by default weir/components in the user's cache folder
    #[arg(long, value_name = "DIR")]
    pub component_cache: Option<PathBuf>,
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// Indented text
    #[default]
    Text,
    /// A Mermaid flowchart
    Mermaid,
    /// JSON, with all that is known of the components
    Json,
}

const TOPICS_EXAMPLES: &str = "\
Examples:
  weir topics --brokers localhost:9092 list
  weir topics --brokers localhost:9092 create lines --partitions 4
  weir topics --brokers localhost:9092 produce lines < text
  weir topics --brokers localhost:9092 consume counts --from-beginning --until-end";

/// List, create, describe, fill and read Kafka topics.
///
/// For looking into a job's topics with the clients that jobs use: produced records go to the partition that the Java
/// client would choose, and only committed records are read.
#[derive(Debug, Args)]
#[command(after_long_help = TOPICS_EXAMPLES)]
pub struct Topics {
    /// Addresses of the cluster, as `host:port,host:port`
    #[arg(long, value_name = "BROKERS", global = true, default_value = "localhost:9092")]
    pub brokers: String,
    /// What to do.
    #[command(subcommand)]
    pub command: TopicsCommand,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// List topics with their number of partitions
    List,
    Create(CreateTopic),
    /// Show the partitions of a topic: leader, replicas, offsets
    Describe {
        /// The topic
        #[arg(value_name = "NAME")]
        topic: String,
    },
    Produce(Produce),
    Consume(Consume),
}

/// Create a topic.
///
/// It gets the cluster's default replication factor.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  weir topics create counts --partitions 4 --config cleanup.policy=compact")]
pub struct CreateTopic {
    /// The topic
    #[arg(value_name = "NAME")]
    pub topic: String,
    /// Number of partitions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub partitions: u32,
    /// A setting of the topic; can be given more than once
    #[arg(long = "config", value_name = "NAME=VALUE", value_parser = setting)]
    pub configs: Vec<(String, String)>,
}

/// Produce the lines of stdin.
///
/// Each line is a record's value; its key is null, unless a separator is given. Ends at the end of stdin, when every
/// record is acknowledged.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  printf 'alice,1\\nbob,2\\n' | weir topics produce scores --key-separator ,")]
pub struct Produce {
    /// The topic
    #[arg(value_name = "NAME")]
    pub topic: String,
    /// What stands between key and value: the first one in a line counts, and each line must have it
    #[arg(long, value_name = "SEP", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub key_separator: Option<String>,
}

/// Print records as `key TAB value`; a null of either is printed as `null`.
///
/// Begins with what is produced from now on, and follows the topic until it is interrupted.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  weir topics consume counts --from-beginning --count 10")]
pub struct Consume {
    /// The topic
    #[arg(value_name = "NAME")]
    pub topic: String,
    /// Begin with the oldest record that is still there
    #[arg(long)]
    pub from_beginning: bool,
    /// End after this many records
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// End at the end that the topic has at the start
    #[arg(long)]
    pub until_end: bool,
}

fn json(text: &str) -> Result<String, String> {
    serde_json::from_str::<serde_json::Value>(text).map(|value| value.to_string()).map_err(|error| error.to_string())
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as cleanup.policy=compact".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_its_settings_and_leaves_the_rest_to_the_job_file() {
        let Command::Run(run) = parse("weir run j.yaml --until-end --workers 3 --metrics-port 0 --log-format json").unwrap().command else {
            panic!("not run");
        };
        assert_eq!((run.until_end, run.fresh, run.workers, run.batch_records, run.metrics_port), (true, false, Some(3), None, Some(0)));
        assert_eq!(run.log_format, logging::Format::Json);
    }

    #[test]
    fn brokers_may_stand_on_either_side_of_the_command() {
        for line in ["weir topics --brokers b:1 list", "weir topics list --brokers b:1"] {
            let Command::Topics(topics) = parse(line).unwrap().command else { panic!("not topics") };
            assert_eq!(topics.brokers, "b:1");
        }
    }

    #[test]
    fn a_topic_setting_is_split_at_its_first_equals_sign() {
        let line = "weir topics create t --partitions 2 --config a=b=c --config d=";
        let Command::Topics(Topics { command: TopicsCommand::Create(create), .. }) = parse(line).unwrap().command else {
            panic!("not create");
        };
        assert_eq!(create.configs, [("a".to_owned(), "b=c".to_owned()), ("d".to_owned(), String::new())]);
        assert_eq!(parse("weir topics create t --partitions 2 --config a").unwrap_err().kind(), ErrorKind::ValueValidation);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for line in ["weir run j --workers 0", "weir run j --batch-records 65537", "weir topics create t --partitions 0"] {
            assert_eq!(parse(line).unwrap_err().kind(), ErrorKind::ValueValidation, "{line}");
        }
    }

    #[test]
    fn the_switch_for_tests_is_not_advertised() {
        let mut command = Cli::command();
        let run = command.find_subcommand_mut("run").unwrap();
        let help = run.render_long_help().to_string();
        assert!(help.contains("--until-end"), "{help}");
        assert!(!help.contains("fresh-instance"), "{help}");
    }

    #[test]
    fn every_command_with_arguments_explains_itself_at_length_and_by_example() {
        let mut command = Cli::command();
        let topics = command.find_subcommand_mut("topics").unwrap().clone();
        for mut command in ["run", "check", "savepoint", "stop", "state", "inspect", "topics"]
            .iter()
            .map(|name| command.find_subcommand(name).unwrap().clone())
            .chain(["create", "produce", "consume"].iter().map(|name| topics.find_subcommand(name).unwrap().clone()))
        {
            let (short, long) = (command.get_about().unwrap().to_string(), command.get_long_about().unwrap().to_string());
            assert!(long.len() > short.len(), "{long}");
            assert!(command.render_long_help().to_string().contains("Example"), "{short}");
        }
    }
}
