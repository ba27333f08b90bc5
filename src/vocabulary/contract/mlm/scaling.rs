//! `value_scaling`: what happens to the values of each band, as normalisation of a contract.
//!
//! A contract computes `(clamp(sample × scale) − mean) / std`:
//!
//! | MLM | computes | contract |
//! |---|---|---|
//! | `min-max` | (x − minimum) / (maximum − minimum) | mean = minimum, std = maximum − minimum |
//! | `z-score` | (x − mean) / stddev | as it says |
//! | `offset` | x − value | mean = value |
//! | `scale` | x / value | std = value |
//! | `clip`, `clip-min`, `clip-max` | x within bounds | clamp, which must be the same for all bands |
//! | `null` | x | nothing |
//! | `processing` | anything | an error |

use serde::Deserialize;
use serde_json::Value;

use crate::vocabulary::contract::{Normalise, PerBand};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

/// One object of `value_scaling`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub(super) struct Scaling {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) mean: Option<f64>,
    pub(super) stddev: Option<f64>,
    pub(super) value: Option<f64>,
    pub(super) format: Option<String>,
    pub(super) expression: Option<Value>,
}

/// Statistics of a band before version 1.3.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Statistics {
    minimum: Option<f64>,
    maximum: Option<f64>,
    mean: Option<f64>,
    stddev: Option<f64>,
}

/// What one band's scaling comes to.
#[derive(Clone, Copy, PartialEq)]
struct Step {
    mean: f64,
    std: f64,
    clamp: Option<[f64; 2]>,
}

/// An input is float32: nothing of it lies beyond.
const UNBOUNDED: f64 = f32::MAX as f64;

/// Turns the older `norm_type` with its statistics into scalings.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if it is another norm than `min-max` or `z-score`.
pub(super) fn from_statistics(norm_type: &str, statistics: &[Statistics]) -> Result<Vec<Option<Scaling>>> {
    if !matches!(norm_type, "min-max" | "z-score") {
        return Err(Error::config(format!("norm_type `{norm_type}` cannot be expressed in a contract")));
    }
    if statistics.is_empty() {
        return Err(Error::config(format!("norm_type `{norm_type}` has no `statistics`")));
    }
    let scaling = |band: &Statistics| {
        let Statistics { minimum, maximum, mean, stddev } = *band;
        Some(Scaling {
            kind: Some(norm_type.to_owned()),
            minimum,
            maximum,
            mean,
            stddev,
            ..Scaling::default()
        })
    };
    Ok(statistics.iter().map(scaling).collect())
}

/// Turns scalings, one for all bands or one for each, into a contract's normalisation; `None` if nothing is
/// to be done.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) with the band that a contract cannot express.
pub(super) fn normalise(scalings: &[Option<Scaling>], num_bands: usize) -> Result<Option<Normalise>> {
    if scalings.len() != 1 && scalings.len() != num_bands {
        return Err(Error::config(format!(
            "`value_scaling` has {} for {}",
            counted(scalings.len() as u64, "object"),
            counted(num_bands as u64, "band")
        )));
    }
    let scaling = |band: usize| &scalings[if scalings.len() == 1 { 0 } else { band }];
    let step = |band: usize| {
        Step::of(scaling(band).as_ref()).map_err(|cause| {
            Error::config(format!(
                "the `value_scaling` of band {} cannot be expressed in a contract",
                band + 1
            ))
            .because(cause)
        })
    };
    let steps = (0..num_bands).map(step).collect::<Result<Vec<_>>>()?;
    let clamp = steps.iter().find_map(|step| step.clamp);
    if clamp.is_some() && steps.iter().any(|step| step.clamp != clamp) {
        return Err(Error::config(
            "`value_scaling` clips only some bands, or clips bands to different bounds",
        )
        .hint("a contract has one clamp for all bands: write a contract file with one that suits all"));
    }
    if steps.iter().all(|step| *step == Step::NOTHING) {
        return Ok(None);
    }
    let normalise = Normalise {
        scale: PerBand::All(1.0),
        clamp,
        mean: steps.iter().map(|step| step.mean).collect(),
        std: steps.iter().map(|step| step.std).collect(),
    };
    normalise.validate(num_bands)?;
    Ok(Some(normalise))
}

impl Step {
    const NOTHING: Self = Self { mean: 0.0, std: 1.0, clamp: None };

    fn of(scaling: Option<&Scaling>) -> Result<Self> {
        let Some(scaling) = scaling else { return Ok(Self::NOTHING) };
        let Some(kind) = scaling.kind.as_deref() else { return Ok(Self::NOTHING) };
        let need = |value: Option<f64>, key: &str| {
            value.ok_or_else(|| Error::config(format!("`{kind}` has no `{key}`")))
        };
        let clamp = |least, greatest| Ok(Self { clamp: Some([least, greatest]), ..Self::NOTHING });
        match kind {
            "min-max" => {
                let (minimum, maximum) =
                    (need(scaling.minimum, "minimum")?, need(scaling.maximum, "maximum")?);
                Ok(Self { mean: minimum, std: maximum - minimum, ..Self::NOTHING })
            }
            "z-score" => Ok(Self {
                mean: need(scaling.mean, "mean")?,
                std: need(scaling.stddev, "stddev")?,
                ..Self::NOTHING
            }),
            "offset" => Ok(Self { mean: need(scaling.value, "value")?, ..Self::NOTHING }),
            "scale" => Ok(Self { std: need(scaling.value, "value")?, ..Self::NOTHING }),
            "clip" => clamp(need(scaling.minimum, "minimum")?, need(scaling.maximum, "maximum")?),
            "clip-min" => clamp(need(scaling.minimum, "minimum")?, UNBOUNDED),
            "clip-max" => clamp(-UNBOUNDED, need(scaling.maximum, "maximum")?),
            "processing" => {
                let format = scaling.format.as_deref().unwrap_or("no format");
                let expression = scaling.expression.clone().unwrap_or_default();
                Err(Error::config(format!("`processing` ({format}): {expression}")))
            }
            other => Err(Error::config(format!("`{other}` is unknown"))),
        }
    }
}
