//! One answer for all who ask the same question at the same time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::vocabulary::error::Result;

/// Questions beyond this many that nobody waits for are forgotten.
const MAX_QUESTIONS: usize = 1024;

/// An answer, and when the search for it began.
#[derive(Clone, Copy)]
struct Answer<T> {
    began: Instant,
    answer: T,
}

type Slot<T> = Arc<tokio::sync::Mutex<Option<Answer<T>>>>;

/// Answers by question, each looked for by one asker while the others wait.
///
/// An answer serves those only who began to ask before the search for it did, so that it never says
/// how things were before the trouble that somebody asks about:
///
/// ```text
/// a asks ─▶ search ──────────▶ answer to a ─▶ search ─▶ answer to b and c
///             b asks ─ waits ────────────────┘
///               c asks ─ waits ──────────────┘
/// ```
pub(super) struct SharedAnswers<T> {
    slots: Mutex<HashMap<String, Slot<T>>>,
}

impl<T> Default for SharedAnswers<T> {
    fn default() -> Self {
        Self { slots: Mutex::default() }
    }
}

impl<T: Copy> SharedAnswers<T> {
    /// Answers `question` by a search that begins after this call.
    ///
    /// # Errors
    ///
    /// As `search`; who waits then searches anew.
    pub(super) async fn ask(&self, question: String, search: impl Future<Output = Result<T>>) -> Result<T> {
        let asked = Instant::now();
        let slot = self.slot(question);
        let mut last = slot.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.began > asked) {
            return Ok(last.answer);
        }
        let began = Instant::now();
        let answer = search.await?;
        *last = Some(Answer { began, answer });
        Ok(answer)
    }

    fn slot(&self, question: String) -> Slot<T> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() > MAX_QUESTIONS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(question).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::vocabulary::error::Error;

    #[tokio::test]
    async fn many_askers_at_once_share_a_search() {
        let (answers, searches) = (SharedAnswers::default(), AtomicUsize::new(0));
        let search = || async {
            searches.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(true)
        };
        let askers = (0..4096).map(|_| answers.ask("is b there".into(), search()));
        assert!(futures::future::join_all(askers).await.into_iter().all(Result::unwrap));
        assert!(searches.load(Ordering::Relaxed) <= 2, "{searches:?}");
    }

    #[tokio::test]
    async fn an_answer_is_never_older_than_its_question() {
        let answers = SharedAnswers::default();
        assert!(answers.ask("q".into(), async { Ok(true) }).await.unwrap());
        assert!(!answers.ask("q".into(), async { Ok(false) }).await.unwrap());
    }

    #[tokio::test]
    async fn an_error_is_no_answer() {
        let answers = SharedAnswers::default();
        answers.ask("q".into(), async { Err(Error::unavailable("away")) }).await.unwrap_err();
        assert!(answers.ask("q".into(), async { Ok(true) }).await.unwrap());
    }
}
