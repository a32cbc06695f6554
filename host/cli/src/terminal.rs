//! Where words for people go: stdout for a command's answer, stderr for logs, with a status line below them.
//!
//! A reader that has gone away is no error: what it did not want is dropped.

use crate::exit::Failure;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::fmt::MakeWriter;

/// Back to the start of the line, and clear it.
const CLEAR: &str = "\r\x1b[K";
/// A line longer than the terminal is wide is cut there, for a wrapped one could not be cleared.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Writes a command's answer to stdout.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What a write to stdout means for the command.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::world(format_args!("cannot write to stdout: {error}"))),
        _ => Ok(()),
    }
}

/// Stderr, shared by the log and the status line: whole lines scroll by above the status line.
#[derive(Clone)]
pub struct Terminal {
    screen: Arc<Mutex<Screen>>,
    live: bool,
}

struct Screen {
    out: Box<dyn Write + Send>,
    status: String,
}

impl Terminal {
    /// The process's stderr; `kind` is the variable TERM.
    pub fn stderr(kind: Option<&str>) -> Self {
        Self::new(Box::new(io::stderr()), io::stderr().is_terminal() && understands_escapes(kind))
    }

    fn new(out: Box<dyn Write + Send>, live: bool) -> Self {
        Self { screen: Arc::new(Mutex::new(Screen { out, status: String::new() })), live }
    }

    /// Whether a status line can be redrawn there, and text have colours.
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// Writes a line.
    pub fn line(&self, text: &str) {
        self.with(|screen| screen.scroll(format!("{text}\n").as_bytes()));
    }

    /// Draws the status line, or takes it away when `text` is empty.
    pub fn status(&self, text: &str) {
        self.with(|screen| {
            if screen.status != text {
                text.clone_into(&mut screen.status);
                screen.scroll(b"");
                if text.is_empty() {
                    screen.write(CLEAR.as_bytes());
                }
            }
        });
    }

    /// The screen is whole between two writes, so a panic of another holder is no reason to be silent.
    fn with(&self, f: impl FnOnce(&mut Screen)) {
        f(&mut self.screen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn understands_escapes(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| kind != "dumb")
}

impl Screen {
    /// Writes whole lines above the status line.
    fn scroll(&mut self, lines: &[u8]) {
        if self.status.is_empty() {
            return self.write(lines);
        }
        let mut bytes = CLEAR.as_bytes().to_vec();
        bytes.extend_from_slice(lines);
        bytes.extend_from_slice(format!("{NO_WRAP}{}{WRAP}", self.status).as_bytes());
        self.write(&bytes);
    }

    /// In one piece. There is nobody left to tell that stderr is gone.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.out.write_all(bytes).and_then(|()| self.out.flush());
    }
}

/// The log's way to the terminal: each event is one write.
impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|screen| screen.scroll(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Terminal {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Tape(Arc<Mutex<Vec<u8>>>);

    impl Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn terminal() -> (Terminal, Tape) {
        let tape = Tape::default();
        (Terminal::new(Box::new(tape.clone()), true), tape)
    }

    fn take(tape: &Tape) -> String {
        String::from_utf8(std::mem::take(&mut *tape.0.lock().unwrap())).unwrap()
    }

    #[test]
    fn without_a_status_line_nothing_but_the_text_is_written() {
        let (terminal, tape) = terminal();
        terminal.line("one");
        terminal.clone().write_all(b"two\n").unwrap();
        terminal.status("");
        assert_eq!(take(&tape), "one\ntwo\n");
    }

    #[test]
    fn a_dumb_terminal_and_one_of_no_name_get_no_escape_sequences() {
        assert!(understands_escapes(Some("xterm-256color")));
        assert!(!understands_escapes(Some("dumb")));
        assert!(!understands_escapes(None));
    }

    #[test]
    fn a_log_line_scrolls_by_above_the_status_line() {
        let (terminal, tape) = terminal();
        terminal.status("busy");
        assert_eq!(take(&tape), "\r\x1b[K\x1b[?7lbusy\x1b[?7h");
        terminal.clone().write_all(b"event\n").unwrap();
        assert_eq!(take(&tape), "\r\x1b[Kevent\n\x1b[?7lbusy\x1b[?7h");
    }

    #[test]
    fn an_unchanged_status_is_not_redrawn_and_an_empty_one_leaves_a_clean_line() {
        let (terminal, tape) = terminal();
        terminal.status("busy");
        take(&tape);
        terminal.status("busy");
        assert_eq!(take(&tape), "");
        terminal.status("");
        assert_eq!(take(&tape), "\r\x1b[K");
        terminal.line("end");
        assert_eq!(take(&tape), "end\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        assert_eq!(written(Err(ErrorKind::BrokenPipe.into())), Ok(()));
        assert_eq!(written(Err(ErrorKind::StorageFull.into())).unwrap_err().kind, weir_host::fault::Kind::World);
    }
}
