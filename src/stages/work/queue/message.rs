//! What a message says, and the subject it is kept under.

use serde::{Deserialize, Serialize};

use crate::output::RunId;

/// An open shard, as written into a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMessage {
    /// The run, of the output that the queue is for.
    pub run: RunId,
    /// Its shard.
    pub shard: u32,
}

impl ShardMessage {
    /// Returns the subject below that of the queue: a shard has one, and so at most one message.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}.{}", self.run, self.shard)
    }

    /// Returns the message as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a text and a number can be written")
    }

    /// Reads a message; `None` if somebody else wrote it.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_and_has_a_subject_of_its_own() {
        let message = ShardMessage { run: RunId::parse("photos-1a2b3c4d-0003").unwrap(), shard: 42 };
        assert_eq!(message.to_json(), br#"{"run":"photos-1a2b3c4d-0003","shard":42}"#);
        assert_eq!(ShardMessage::from_json(&message.to_json()), Some(message.clone()));
        assert_eq!(message.subject(), "photos-1a2b3c4d-0003.42");
        for foreign in
            ["", "{}", r#"{"run":"../x","shard":1}"#, r#"{"run":"photos-1a2b3c4d-0003","shard":-1}"#]
        {
            assert_eq!(ShardMessage::from_json(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
