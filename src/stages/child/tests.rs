use std::io::{self, Read};

use super::*;

/// A program that says it is ready, then does this.
fn program(script: &str) -> Program {
    Program {
        path: "/bin/sh".into(),
        arguments: ["-c", &format!("printf '!'; {script}")].map(Into::into).into(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
    }
}

fn limits(millis: u64) -> Limits {
    Limits { memory_bytes: 1 << 30, memory_alone_bytes: 1 << 31, time: Duration::from_millis(millis) }
}

fn read(mut pipe: &mut dyn Read) -> io::Result<Vec<u8>> {
    let (head, body_bytes) = read_head(&mut pipe)?;
    let mut body = vec![0; body_bytes as usize];
    pipe.read_exact(&mut body)?;
    Ok([head, body].concat())
}

fn death_in(script: &str) -> Death {
    let mut child = Child::start(&program(script), limits(200)).unwrap();
    child.ask(b"head", b"body", read).unwrap_err()
}

/// `cat` repeats the question, which is a message, too.
#[test]
fn answers_come_back_question_by_question() {
    let children = Children::new(program("exec cat"), limits(60_000));
    let body: Vec<u8> = (0..60_000).map(|byte: u32| byte as u8).collect();
    for head in [&b"one"[..], b"", b"three"] {
        assert_eq!(children.ask(head, &body, read), Ok([head, &body].concat()));
    }
}

#[test]
fn what_a_child_died_of_is_told_apart() {
    let crashed = |how: &str| matches!(death_in(how), Death::Crashed(_));
    assert!(crashed("kill -SEGV $$"));
    assert!(crashed("exit 3"), "libraries that end the process");
    assert!(crashed("head -c 20 >/dev/null; printf 'this is no answer'; sleep 60"), "another language");
    assert_eq!(death_in("kill -XCPU $$"), Death::TooSlow);
    assert_eq!(death_in("exec sleep 60"), Death::TooSlow, "without an answer, by the clock");
    for signal in ["KILL", "TERM", "INT", "HUP"] {
        assert_eq!(death_in(&format!("kill -{signal} $$")), Death::Killed, "{signal}: as a job is ended");
    }
    let no_memory = "echo 'memory allocation of 67108864 bytes failed' >&2; kill -ABRT $$";
    assert_eq!(death_in(no_memory), Death::OutOfMemory);
}

/// What is missing here is never said of the question.
#[test]
fn a_child_that_does_not_start_is_no_fault_of_the_question() {
    let nowhere = Program { path: "/nowhere/at/all".into(), arguments: Vec::new(), environment: Vec::new() };
    let silent = Program { arguments: ["-c", "exit 1"].map(Into::into).into(), ..program("") };
    for program in [nowhere, silent] {
        let death = Children::new(program, limits(200)).ask(b"", b"", read).unwrap_err();
        assert!(matches!(death, Death::NotStarted(_)), "{death}");
        assert!(!death.is_of_the_question());
    }
}

/// What does not fit beside others is asked once more, while no other is asked.
#[test]
fn a_child_that_lacks_memory_gets_all_of_it_the_second_time() {
    let short =
        "[ $0 = 2147483648 ] && exec cat; echo 'memory allocation of 1 bytes failed' >&2; kill -ABRT $$";
    let children = Children::new(program(short), limits(60_000));
    assert_eq!(children.ask(b"large", b"", read), Ok(b"large".to_vec()));
    let never = "echo 'memory allocation of 1 bytes failed' >&2; kill -ABRT $$";
    let death = Children::new(program(never), limits(60_000)).ask(b"", b"", read);
    assert_eq!(death, Err(Death::OutOfMemory));
}

/// Counts its children in a file, and crashes in the first of them.
#[test]
fn a_question_is_asked_once_more_in_a_new_child() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("children").display().to_string();
    let num_children = || std::fs::read_to_string(&file).unwrap().lines().count();
    let counting = |then: &str| {
        program(&format!("echo >> {file}; [ $(wc -l < {file}) -gt 1 ] && {then}; kill -SEGV $$"))
    };
    let answer = Children::new(counting("exec cat"), limits(60_000)).ask(b"again", b"", read);
    assert_eq!((answer, num_children()), (Ok(b"again".to_vec()), 2));
    std::fs::remove_file(&file).unwrap();
    let death = Children::new(counting("kill -SEGV $$"), limits(60_000)).ask(b"", b"", read).unwrap_err();
    assert_eq!((death.is_of_the_question(), num_children()), (true, 2), "{death}");
    std::fs::remove_file(&file).unwrap();
    let death = Children::new(counting("kill -KILL $$"), limits(60_000)).ask(b"", b"", read).unwrap_err();
    assert_eq!((death, num_children()), (Death::Killed, 4), "one crash is not enough");
}
