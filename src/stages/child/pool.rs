//! As many children as questions are asked at once.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use super::{Child, Death, Limits, Program};

/// A question that has ended so many children is at fault.
const DEATHS_OF_A_QUESTION: usize = 2;
/// Children that others killed are replaced so often.
const DEATHS_BY_OTHERS: usize = 3;

/// Children that wait for questions; may be asked by several threads at once.
#[derive(Debug)]
pub struct Children {
    program: Program,
    limits: Limits,
    idle: Mutex<Vec<Child>>,
}

impl Children {
    /// Starts none yet.
    #[must_use]
    pub fn new(program: Program, limits: Limits) -> Self {
        Self { program, limits, idle: Mutex::default() }
    }

    /// Returns what each may take.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Asks a question; one that its child dies over is asked again, in a new child.
    ///
    /// # Errors
    ///
    /// What the last child died of.
    pub fn ask<T>(
        &self,
        head: &[u8],
        body: &[u8],
        mut read: impl FnMut(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T, Death> {
        let mut waiting = self.take_idle();
        let (mut of_the_question, mut by_others) = (0, 0);
        loop {
            let mut child = match waiting.take() {
                Some(child) => child,
                None => Child::start(&self.program, self.limits)?,
            };
            let death = match child.ask(head, body, &mut read) {
                Ok(answer) => {
                    self.give_back(child);
                    return Ok(answer);
                }
                Err(death) => death,
            };
            *(if death.is_of_the_question() { &mut of_the_question } else { &mut by_others }) += 1;
            if of_the_question == DEATHS_OF_A_QUESTION || by_others == DEATHS_BY_OTHERS {
                return Err(death);
            }
        }
    }

    fn take_idle(&self) -> Option<Child> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, child: Child) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }
}
