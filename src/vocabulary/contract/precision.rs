//! The precision of a network's arithmetic: a property of the model file.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::vocabulary::error::{Error, Result};

/// Precision of the network's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit float.
    Fp32,
    /// 32-bit float, whose products an accelerator may round to 10 bits; the file is as for `Fp32`.
    #[value(skip)]
    Tf32,
    /// 16-bit float (IEEE 754 half): weights and most of the arithmetic.
    Fp16,
    /// 8-bit integers: weights and activations of the quantised layers.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Tf32, Self::Fp16, Self::Int8];

    /// Returns the name as in pipeline files and in the table's metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }

    /// Returns the precision of a run: what the model file has, which is what was asked for if anything was.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if the file has another precision: no arithmetic is changed
    /// on the way.
    pub fn agreed(asked: Option<Self>, file: Self) -> Result<Self> {
        match asked {
            Some(Self::Tf32) if file == Self::Fp32 => Ok(Self::Tf32),
            Some(asked) if asked != file => {
                Err(Error::config(format!("`run.precision` is \"{asked}\", but the model file is {file}"))
                    .hint(asked.how_to_get()))
            }
            _ => Ok(file),
        }
    }

    fn how_to_get(self) -> &'static str {
        match self {
            Self::Fp32 | Self::Tf32 => {
                "give the fp32 model that this one was made from, or use \"auto\", which takes the file's \
                 precision"
            }
            Self::Fp16 => {
                "`tilefleet model build --precision fp16` makes such a file; \"auto\" takes the file's \
                 precision"
            }
            Self::Int8 => {
                "`tilefleet model quantize` makes an int8 file from an fp32 one; \"auto\" takes the file's \
                 precision"
            }
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_precision_than_the_files_is_refused_with_advice() {
        assert_eq!(Precision::agreed(None, Precision::Int8).unwrap(), Precision::Int8);
        assert_eq!(Precision::agreed(Some(Precision::Fp32), Precision::Fp32).unwrap(), Precision::Fp32);
        assert_eq!(Precision::agreed(Some(Precision::Tf32), Precision::Fp32).unwrap(), Precision::Tf32);
        Precision::agreed(Some(Precision::Tf32), Precision::Fp16).unwrap_err();
        let error = Precision::agreed(Some(Precision::Int8), Precision::Fp32).unwrap_err();
        assert_eq!(error.kind().exit_code(), 78);
        assert!(error.render().contains("model quantize"), "{}", error.render());
    }
}
