//! Refuses queries that would need more stack than there is.
//!
//! The parser limits how deep brackets nest, but a chain such as `1 + 1 + 1 + …` is as deep a tree as it
//! is long, and the query engine walks trees by recursion. A stack that overflows ends the process.
//! So the depth is bounded beforehand, from the tokens alone and without recursion; and whoever asks has
//! a stack that is large enough for the bound: [`STACK_BYTES`].

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::vocabulary::error::{Error, Result};

/// The stack that threads need which plan and run queries; only what is used of it is ever backed by memory.
pub const STACK_BYTES: usize = 512 << 20;

/// The longest query, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Maximum depth of a query's words and signs; the length of lists in brackets is not limited.
const MAX_DEPTH: usize = 4096;

/// Refuses SQL that is too long or nests too deep.
///
/// # Errors
///
/// `Usage`, with a way to ask the same.
pub(super) fn check(sql: &str) -> Result<()> {
    if sql.len() > MAX_BYTES {
        return Err(Error::usage("the query is too long")
            .because(format!("it has {} bytes, the maximum is {MAX_BYTES}", sql.len())));
    }
    // What cannot be taken apart is left to the engine, which says where it is wrong.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    let depth = depth(&tokens);
    if depth > MAX_DEPTH {
        return Err(Error::usage("the query is nested too deeply")
            .because(format!("its depth is up to {depth}, the maximum is {MAX_DEPTH}"))
            .hint(
                "write `column IN (…)` or join `(VALUES (…), (…))` instead of long chains of OR, + or UNION",
            ));
    }
    Ok(())
}

/// What stands between two brackets.
#[derive(Default)]
struct Group {
    /// Whether commas part things that do not depend on each other.
    is_list: Option<bool>,
    /// Words and signs since the last comma of a list.
    length: usize,
    /// The deepest group since then.
    inner: usize,
    /// The deepest part that is over.
    deepest: usize,
}

impl Group {
    fn end_part(&mut self) {
        self.deepest = self.deepest.max(self.length + self.inner);
        (self.length, self.inner) = (0, 0);
    }
}

/// Returns a bound of the depth of the tree that the tokens become: nothing hangs below more than all
/// words and signs beside it and the deepest brackets among them.
fn depth(tokens: &[Token]) -> usize {
    // The tables after FROM hang below each other, so that only what begins otherwise is a list.
    let mut groups = vec![Group { is_list: Some(false), ..Group::default() }];
    for token in tokens {
        if matches!(token, Token::LParen | Token::LBracket | Token::LBrace) {
            open(&mut groups);
        } else if matches!(token, Token::RParen | Token::RBracket | Token::RBrace) {
            close(&mut groups);
        } else if let Some(group) = groups.last_mut() {
            count(group, token);
        }
    }
    while groups.len() > 1 {
        close(&mut groups);
    }
    groups.first_mut().map_or(0, |all| {
        all.end_part();
        all.deepest
    })
}

fn open(groups: &mut Vec<Group>) {
    if let Some(around) = groups.last_mut() {
        around.is_list.get_or_insert(true);
    }
    groups.push(Group::default());
}

fn close(groups: &mut Vec<Group>) {
    // One closing bracket too many is for the engine to say.
    if groups.len() < 2 {
        return;
    }
    let Some(mut over) = groups.pop() else { return };
    over.end_part();
    if let Some(around) = groups.last_mut() {
        around.inner = around.inner.max(over.deepest + 1);
    }
}

fn count(group: &mut Group, token: &Token) {
    match token {
        Token::Whitespace(_) => return,
        Token::Comma if group.is_list == Some(true) => return group.end_part(),
        Token::Word(word) => {
            let value = word.value.to_ascii_uppercase();
            group.is_list.get_or_insert(!["SELECT", "WITH", "FROM"].contains(&value.as_str()));
        }
        _ => {
            group.is_list.get_or_insert(true);
        }
    }
    group.length += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth_of(sql: &str) -> usize {
        depth(&Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap())
    }

    #[test]
    fn chains_are_as_deep_as_long_and_lists_are_not() {
        assert_eq!(depth_of("1 + 1 + 1"), 5);
        assert_eq!(depth_of("x IN (1, 2, 3, 4)"), 4);
        assert_eq!(depth_of("x IN (1, 2, 3 + 4, 5)"), 6);
        assert_eq!(depth_of("((1))"), 3);
        assert_eq!(depth_of("f(a, (SELECT 1 FROM t, u))"), 9);
        assert_eq!(depth_of("))(("), 2);
        let ids = vec!["'0123456789abcdef0123456789abcdef'"; 20_000].join(", ");
        assert!(check(&format!("SELECT * FROM tiles WHERE tile_id IN ({ids})")).is_ok());
        let rows = vec!["(1, 'a')"; 20_000].join(", ");
        assert!(check(&format!("SELECT * FROM (VALUES {rows}) AS t(id, name)")).is_ok());
        let tables = vec!["runs"; 5000].join(", ");
        assert!(check(&format!("SELECT * FROM {tables}")).is_err());
        assert!(check(&format!("SELECT '{}'", "x".repeat(MAX_BYTES))).is_err());
    }
}
