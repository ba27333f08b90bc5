//! Where images and blocks are decoded: in this process, or in a child that may die over one.
//!
//! A decoder that crashes the process, runs for ever or takes all memory then costs one tile: the child is gone, and the
//! tile is rejected once a second child has died over it. Samples are the same in both places, a test says so.

use std::io::{self, Read};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blocks::{Block, StoredValues, decode_block};
use super::decode;
use crate::formats::image::{DecodeLimits, ImageHeader, parse_header};
use crate::formats::raster::BlockSpec;
use crate::stages::child::{Children, Death, Limits, answer_questions, read_head, write_message};
use crate::vocabulary::chip::{Bands, Chip, Samples};
use crate::vocabulary::error::Error;
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::{Reason, Rejection, SourceError};
use crate::vocabulary::sample::SampleKind;
use crate::vocabulary::words::bytes;

/// Decodes images and blocks.
#[derive(Clone, Debug)]
pub enum Decoder {
    /// In this process.
    Here,
    /// In child processes.
    InChildren(Arc<Children>),
}

/// What a child is asked; the body is what is stored.
#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Image { limits: DecodeLimits, needed: Window },
    Block(BlockSpec),
}

/// What a child answers; the body is the samples.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Chip { size: Size, bands: Bands, samples: SamplesHead },
    Block { window: Window, values: Option<StoredValues>, samples: SamplesHead },
    Rejected(Rejection),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct SamplesHead {
    kind: SampleKind,
    num: usize,
}

impl From<&Samples> for SamplesHead {
    fn from(samples: &Samples) -> Self {
        Self { kind: samples.kind(), num: samples.len() }
    }
}

impl Decoder {
    /// Decodes the first page of an image, as [`decode()`].
    ///
    /// # Errors
    ///
    /// Those of [`decode()`]. Of children also [`Reason::DecoderCrash`], [`Reason::DecoderTimeout`] and
    /// [`Reason::TooLarge`] where they die over the image, and `Unavailable` where they are killed or cannot be started.
    pub fn image(
        &self,
        header: &ImageHeader,
        stored: &[u8],
        limits: &DecodeLimits,
        needed: Window,
    ) -> Result<Chip, SourceError> {
        let Self::InChildren(children) = self else {
            return Ok(decode(header, stored, limits, needed)?);
        };
        match ask(children, &Question::Image { limits: *limits, needed }, stored)? {
            (Answer::Chip { size, bands, .. }, samples) => Ok(Chip { size, bands, samples }),
            (Answer::Rejected(rejection), _) => Err(rejection.into()),
            (Answer::Block { .. }, _) => Err(other_answer().into()),
        }
    }

    /// Decodes one block, as [`decode_block`].
    ///
    /// # Errors
    ///
    /// Those of [`decode_block`], and of children as [`Self::image`].
    pub fn block(&self, spec: &BlockSpec, stored: Option<&[u8]>) -> Result<Block, SourceError> {
        let (Self::InChildren(children), Some(bytes)) = (self, stored) else {
            return Ok(decode_block(spec, stored)?);
        };
        match ask(children, &Question::Block(spec.clone()), bytes)? {
            (Answer::Block { window, values, .. }, samples) => Ok(Block { window, samples, dicom: values }),
            (Answer::Rejected(rejection), _) => Err(rejection.into()),
            (Answer::Chip { .. }, _) => Err(other_answer().into()),
        }
    }
}

fn ask(children: &Children, question: &Question, stored: &[u8]) -> Result<(Answer, Samples), SourceError> {
    let head = postcard::to_stdvec(question)
        .map_err(|error| Error::bug("cannot write a question to a decoder").because(error))?;
    children.ask(&head, stored, read_answer).map_err(|death| why(death, children.limits()))
}

fn read_answer(mut pipe: &mut dyn Read) -> io::Result<(Answer, Samples)> {
    let (head, body_bytes) = read_head(&mut pipe)?;
    let answer: Answer = postcard::from_bytes(&head).map_err(io::Error::other)?;
    let mut samples = match &answer {
        Answer::Chip { samples, .. } | Answer::Block { samples, .. } => {
            let stated = (samples.num as u64).checked_mul(samples.kind.num_bytes());
            if stated != Some(body_bytes) {
                return Err(io::Error::other("the samples are not as many as it says"));
            }
            Samples::zeroed(samples.kind, samples.num)
        }
        Answer::Rejected(_) => Samples::U8(Vec::new()),
    };
    pipe.read_exact(samples.bytes_mut())?;
    Ok((answer, samples))
}

/// Says what comes of a tile that children died over, or of the run if that is no fault of the tile.
fn why(death: Death, limits: Limits) -> SourceError {
    let reject = |reason, detail: String| Rejection::new(reason, detail).into();
    match death {
        Death::Crashed(how) => {
            reject(Reason::DecoderCrash, format!("the decoder ended with {how}, in two processes of its own"))
        }
        Death::OutOfMemory => {
            let most = bytes(limits.memory_alone_bytes);
            reject(Reason::TooLarge, format!("decoding it takes more than limits.decode_memory ({most})"))
        }
        Death::TooSlow => {
            let most = limits.time.as_secs_f64();
            reject(Reason::DecoderTimeout, format!("decoding it takes longer than limits.decode_time ({most} s)"))
        }
        Death::Killed | Death::NotStarted(_) => Error::unavailable("decoders in child processes do not run")
            .because(death)
            .hint("the shard stays open; give the processes more memory, or lower `run.memory` and `run.threads`")
            .into(),
    }
}

fn other_answer() -> Error {
    Error::bug("a decoder answered another question")
}

/// Answers the questions of a [`Decoder`] in a child process, until there are no more.
///
/// # Errors
///
/// As [`answer_questions`].
pub fn serve_decoder(limits: Limits) -> io::Result<()> {
    answer_questions(limits, |head, stored, pipe| {
        let question = postcard::from_bytes(head).map_err(io::Error::other)?;
        let (answer, samples) = answered(question, &stored)
            .unwrap_or_else(|rejection| (Answer::Rejected(rejection), Samples::U8(Vec::new())));
        let head = postcard::to_stdvec(&answer).map_err(io::Error::other)?;
        write_message(pipe, &head, samples.bytes())
    })
}

fn answered(question: Question, stored: &[u8]) -> Result<(Answer, Samples), Rejection> {
    match question {
        Question::Image { limits, needed } => {
            let Chip { size, bands, samples } = decode(&parse_header(stored)?, stored, &limits, needed)?;
            Ok((Answer::Chip { size, bands, samples: (&samples).into() }, samples))
        }
        Question::Block(spec) => {
            let Block { window, samples, dicom } = decode_block(&spec, Some(stored))?;
            Ok((Answer::Block { window, values: dicom, samples: (&samples).into() }, samples))
        }
    }
}
