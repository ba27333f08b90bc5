//! The child's end: limits itself, then answers.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::Limits;
use super::message::read_head;
use super::parent::HELLO;

/// Answers the questions on standard input, until there are no more.
///
/// - `answer`: gets a head and a body, and writes one message
///
/// # Errors
///
/// As the pipes answer; if the limits cannot be set.
pub fn answer_questions(
    limits: Limits,
    mut answer: impl FnMut(&[u8], Vec<u8>, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    end_with_parent()?;
    limit(Resource::Data, limits.memory_bytes)?;
    // What is being decoded is nobody's business.
    limit(Resource::Core, 0)?;
    // Not through the standard library's buffers, which nothing else is to use either.
    let mut questions = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    answers.write_all(&[HELLO])?;
    loop {
        let (head, body_bytes) = match read_head(&mut questions) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        };
        let mut body = vec![0; body_bytes as usize];
        questions.read_exact(&mut body)?;
        limit_time(limits.time)?;
        answer(&head, body, &mut answers)?;
    }
}

/// A child whose parent was killed is not to go on.
#[cfg(target_os = "linux")]
fn end_with_parent() -> io::Result<()> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have gone just before.
    if rustix::process::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> io::Result<()> {
    Ok(())
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// Lets the next question take so much processor time; then the system ends this process with SIGXCPU.
fn limit_time(time: Duration) -> io::Result<()> {
    let taken = clock_gettime(ClockId::ProcessCPUTime);
    let most = taken.tv_sec as u64 + time.as_secs_f64().ceil() as u64 + 1;
    Ok(setrlimit(Resource::Cpu, Rlimit { current: Some(most), maximum: None })?)
}
