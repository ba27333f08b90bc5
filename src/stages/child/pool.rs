//! As many children as questions are asked at once.

use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

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
    /// Many are asked among others, or one alone.
    company: RwLock<()>,
}

impl Children {
    /// Starts none yet.
    #[must_use]
    pub fn new(program: Program, limits: Limits) -> Self {
        Self { program, limits, idle: Mutex::default(), company: RwLock::default() }
    }

    /// Returns what each may take.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Asks a question; one that its child dies over is asked again, in a new child. One that lacked memory is asked again
    /// alone, with all the memory there is for children.
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
        let (mut of_the_question, mut by_others) = (0, 0);
        let mut is_alone = false;
        loop {
            let asked = if is_alone {
                let _alone = self.company.write().unwrap_or_else(PoisonError::into_inner);
                // Those that wait hold memory, too.
                self.idle().clear();
                Child::start(&self.program, self.limits.alone())?.ask(head, body, &mut read)
            } else {
                let _among_others = self.company.read().unwrap_or_else(PoisonError::into_inner);
                self.ask_among_others(head, body, &mut read, of_the_question + by_others > 0)?
            };
            let death = match asked {
                Ok(answer) => return Ok(answer),
                Err(death) => death,
            };
            is_alone |= death == Death::OutOfMemory;
            *(if death.is_of_the_question() { &mut of_the_question } else { &mut by_others }) += 1;
            if of_the_question == DEATHS_OF_A_QUESTION || by_others == DEATHS_BY_OTHERS {
                return Err(death);
            }
        }
    }

    /// Asks a child that is idle, or a new one: what an idle one dies of may be old.
    fn ask_among_others<T>(
        &self,
        head: &[u8],
        body: &[u8],
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
        anew: bool,
    ) -> Result<Result<T, Death>, Death> {
        let idle = if anew { None } else { self.idle().pop() };
        let mut child = match idle {
            Some(child) => child,
            None => Child::start(&self.program, self.limits)?,
        };
        let asked = child.ask(head, body, read);
        if asked.is_ok() {
            self.idle().push(child);
        }
        Ok(asked)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Child>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
