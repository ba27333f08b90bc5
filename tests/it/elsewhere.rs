//! The questions of docs/how-to/query-a-table.md, as other tools are told to ask them there, on a real output.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::DataType;
use datafusion::prelude::SessionContext;
use serde_json::Value;

use crate::fixture::{Job, Row, rows};
use crate::query::ask;
use crate::support;

/// What the page asks for, and what this output has in its place.
const ASKED: &str = "0123456789abcdef0123456789abcdef";
const LENGTH: (&str, &str) = ("FLOAT[2048]", "FLOAT[512]");

struct Page {
    text: String,
    job: Job,
    asked: Row,
}

impl Page {
    fn open() -> Self {
        let job = Job::new(30, "[limits]\nmax_reject_ratio = 0.5");
        job.write_image("broken.jpg", b"");
        job.run_ok(&[]);
        symlink("table", job.path("out")).unwrap();
        let asked = rows(&job.table()).into_iter().find(|row| row.status == "ok").unwrap();
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to/query-a-table.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, text) = page.split_once("## The same questions elsewhere").expect("the page has this part");
        let text = text.replace(LENGTH.0, LENGTH.1).replace(ASKED, &asked.tile_id);
        Self { text, job, asked }
    }

    /// Returns what stands between double quotes after a command.
    fn questions(&self, command: &str) -> Vec<&str> {
        let found: Vec<&str> =
            self.text.split(command).skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(found.len(), 2, "{command} asks both questions");
        found
    }

    fn blocks(&self, language: &str) -> Vec<&str> {
        let fence = format!("```{language}\n");
        self.text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
    }

    /// The sources of the ten nearest, best first, and counts per class, most first.
    fn expected(&self) -> (Vec<String>, Vec<(i64, i64)>) {
        let text = |row: &Value| row["source"].as_str().unwrap().to_owned();
        let pair = |row: &Value| (row["class_id"].as_i64().unwrap(), row["n"].as_i64().unwrap());
        let [counts, nearest] = self.questions("tilefleet query out \"")[..] else { panic!("two questions") };
        let nearest = ask(&self.job.table(), nearest);
        let counts = ask(&self.job.table(), counts);
        let nearest: Vec<String> = nearest.as_array().unwrap().iter().map(text).collect();
        assert_eq!(nearest.len(), 10);
        (nearest, counts.as_array().unwrap().iter().map(pair).collect())
    }

    /// Compares what a tool found, its own tile first, in any order among classes of one size.
    fn assert_found(&self, tool: &str, nearest: &[String], mut counts: Vec<(i64, i64)>) {
        let (expected_nearest, mut expected_counts) = self.expected();
        assert_eq!(nearest.first(), Some(&self.asked.source), "{tool}");
        assert_eq!(nearest[1..], expected_nearest, "{tool}");
        assert!(counts.is_sorted_by_key(|(_, n)| -n), "{tool}: {counts:?}");
        counts.sort_unstable();
        expected_counts.sort_unstable();
        assert_eq!(counts, expected_counts, "{tool}");
    }
}

async fn by_datafusion(page: &Page, sql: &str) -> RecordBatch {
    let sql = sql.replace("'out/", &format!("'{}/", page.job.path("out").display()));
    let batches = SessionContext::new().enable_url_table().sql(&sql).await.unwrap().collect().await.unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[tokio::test]
async fn datafusion_answers_as_the_page_says() {
    let page = Page::open();
    let [counts, nearest] = page.questions("datafusion-cli -c \"")[..] else { panic!("two questions") };
    let (counts, nearest) = (by_datafusion(&page, counts).await, by_datafusion(&page, nearest).await);
    let sources = cast(&nearest["source"], &DataType::Utf8).unwrap();
    let sources: Vec<String> = sources.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    let numbers = |name: &str| -> Vec<i64> {
        let numbers = cast(&counts[name], &DataType::Int64).unwrap();
        numbers.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
    };
    page.assert_found("DataFusion", &sources, numbers("class_id").into_iter().zip(numbers("n")).collect());
}

/// Runs a program in the folder where `out` is, and returns what it printed as JSON.
fn run(page: &Page, python: &Path, program: &str) -> Value {
    let mut command = Command::new(python);
    command.arg("-c").arg(program).current_dir(page.job.folder.path());
    serde_json::from_str(&support::stdout_of(&mut command)).unwrap()
}

fn assert_answer(page: &Page, tool: &str, answer: &Value) {
    let sources =
        answer["nearest"].as_array().unwrap().iter().map(|source| source.as_str().unwrap().to_owned());
    let number = |value: &Value| value.as_f64().unwrap() as i64;
    let counts = answer["counts"].as_array().unwrap().iter().map(|pair| (number(&pair[0]), number(&pair[1])));
    page.assert_found(tool, &sources.collect::<Vec<_>>(), counts.collect());
}

#[test]
fn duckdb_answers_as_the_page_says() {
    let Some(python) = support::python() else { return };
    let page = Page::open();
    let [counts, nearest] = page.questions("duckdb -c \"")[..] else { panic!("two questions") };
    let program = format!(
        "import duckdb, json\n\
         rows = lambda sql: duckdb.execute(sql).fetchall()\n\
         nearest = [row[0] for row in rows(\"\"\"{nearest}\"\"\")]\n\
         print(json.dumps({{'counts': rows(\"\"\"{counts}\"\"\"), 'nearest': nearest}}))"
    );
    assert_answer(&page, "DuckDB", &run(&page, &python, &program));
}

/// The blocks run as they stand; `print` is overheard.
#[test]
fn pandas_answers_as_the_page_says() {
    let Some(python) = support::python() else { return };
    let page = Page::open();
    let [counts, nearest] = page.blocks("python")[..] else { panic!("two blocks") };
    let program = format!(
        "import json\nprinted = []\nsay, print = print, printed.append\n{counts}\n{nearest}\n\
         counts, nearest = printed\n\
         say(json.dumps({{'counts': list(counts.items()), 'nearest': nearest.source.tolist()}}))"
    );
    assert_answer(&page, "pandas", &run(&page, &python, &program));
}
