//! The parent's end: starts a child, asks it, learns what it died of.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::message::write_message;
use super::{Death, Limits};

/// What a child says once it is ready.
pub(super) const HELLO: u8 = b'!';
/// A child that has not said it by then does not start.
const START: Duration = Duration::from_mins(1);
/// What Rust writes when it cannot allocate, before it aborts.
const NO_MEMORY: &str = "memory allocation of ";
/// Signals that a process gets for what it did itself; all others come from outside, as when a job is ended.
const FAULTS: [Signal; 7] =
    [Signal::SEGV, Signal::BUS, Signal::ILL, Signal::FPE, Signal::ABORT, Signal::TRAP, Signal::SYS];
/// So much of what a child wrote on standard error is looked at.
const MAX_LAST_WORDS: u64 = 4 << 10;

static THIS: OnceLock<Program> = OnceLock::new();

/// A program whose processes answer questions.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is called with, before the limits.
    pub arguments: Vec<OsString>,
    /// All of its environment: a child needs no secrets.
    pub environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// Notes that this very program, called with these arguments, answers questions.
    pub fn register_this(arguments: &[&str], environment: Vec<(OsString, OsString)>) {
        // This still finds it when the file has been replaced meanwhile.
        let linux = PathBuf::from("/proc/self/exe");
        let path = if linux.exists() { Some(linux) } else { std::env::current_exe().ok() };
        let arguments = arguments.iter().map(OsString::from).collect();
        if let Some(path) = path {
            THIS.get_or_init(|| Self { path, arguments, environment });
        }
    }

    /// Returns this program, if it answers questions: a library in another program does not.
    #[must_use]
    pub fn this() -> Option<&'static Self> {
        THIS.get()
    }

    fn command(&self, limits: Limits) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command.arg(limits.memory_bytes.to_string()).arg(limits.time.as_secs_f64().to_string());
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        // A terminal's Ctrl-C is for the parent, which lets its children finish.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A process that answers one question after the other.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    questions: ChildStdin,
    answers: ChildStdout,
    limits: Limits,
}

impl Child {
    /// Starts a child and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`Death::NotStarted`]
    pub fn start(program: &Program, limits: Limits) -> Result<Self, Death> {
        let not_started = |error: io::Error| Death::NotStarted(error.to_string());
        let mut process = program.command(limits).spawn().map_err(not_started)?;
        let questions = process.stdin.take().expect("it was asked for");
        let answers = process.stdout.take().expect("it was asked for");
        let mut child = Self { process, questions, answers, limits };
        let mut hello = [0];
        let said = child.answers(START).read_exact(&mut hello);
        match said {
            Ok(()) if hello == [HELLO] => Ok(child),
            Ok(()) => Err(Death::NotStarted("it answers in another language".to_owned())),
            Err(error) => Err(Death::NotStarted(child.death(&error).to_string())),
        }
    }

    /// Asks a question.
    ///
    /// - `read`: reads the answer, all of it
    ///
    /// # Errors
    ///
    /// What the child died of; nothing more is to be asked then.
    pub fn ask<T>(
        &mut self,
        head: &[u8],
        body: &[u8],
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T, Death> {
        let asked = write_message(&self.questions, head, body);
        let answered = asked.and_then(|()| read(&mut self.answers(self.limits.patience())));
        answered.map_err(|error| self.death(&error))
    }

    fn answers(&mut self, patience: Duration) -> Answers<'_> {
        Answers { pipe: &mut self.answers, until: Instant::now() + patience }
    }

    /// Learns why the pipe to the child has failed.
    fn death(&mut self, error: &io::Error) -> Death {
        let has_ended = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe);
        if !has_ended {
            let _ = self.process.kill();
        }
        let ended = self.process.wait();
        match ended {
            _ if error.kind() == io::ErrorKind::TimedOut => Death::TooSlow,
            _ if !has_ended => Death::Crashed(format!("an answer that is none ({error})")),
            Ok(status) => self.death_with(status),
            Err(error) => Death::Crashed(format!("an unknown status ({error})")),
        }
    }

    fn death_with(&mut self, status: ExitStatus) -> Death {
        if self.last_words().contains(NO_MEMORY) {
            return Death::OutOfMemory;
        }
        match status.signal().and_then(Signal::from_named_raw) {
            Some(Signal::XCPU) => Death::TooSlow,
            Some(signal) if !FAULTS.contains(&signal) => Death::Killed,
            _ => Death::Crashed(status.to_string()),
        }
    }

    fn last_words(&mut self) -> String {
        let mut words = Vec::new();
        if let Some(stderr) = self.process.stderr.take() {
            let _ = stderr.take(MAX_LAST_WORDS).read_to_end(&mut words);
        }
        String::from_utf8_lossy(&words).into_owned()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Of one that has ended, this only takes the status.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A pipe that does not wait for ever.
struct Answers<'a> {
    pipe: &'a mut ChildStdout,
    until: Instant,
}

impl Read for Answers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let num_ready = {
            let pipe = self.pipe.as_fd();
            poll(&mut [PollFd::from_borrowed_fd(pipe, PollFlags::IN)], Some(&left))
        };
        match num_ready {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => self.pipe.read(buffer),
            // `read_exact` asks again.
            Err(rustix::io::Errno::INTR) => Err(io::ErrorKind::Interrupted.into()),
            Err(error) => Err(error.into()),
        }
    }
}
