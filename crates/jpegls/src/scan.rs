//! Decodes one scan: line after line, each sample by its neighbours (ITU-T T.87, annex A; several components: annex B).

use tilefleet_codec::{Error, Sample, corrupt, truncated};
use tilefleet_jpeg_header::marker;

use super::bits::{Balance, BitReader};
use super::context::{Context, NUM_CONTEXTS, take_code};
use super::header::{Header, Interleave, Scan};
use super::preset::Preset;
use super::run::{RunContext, RunLength};

/// Decodes a scan into its places of `out`, `[height, width, components]`; returns the length of its data.
pub(crate) fn decode<S: Sample>(
    scan: &Scan,
    header: &Header,
    data: &[u8],
    out: &mut [S],
) -> Result<usize, Error> {
    let preset = &scan.preset;
    let whole = preset.near == 0 && preset.range.count_ones() == 1;
    let width = header.size.width as usize;
    if whole {
        let rule = Exact { max_value: preset.max_value };
        Walk::new(scan, rule, header, data).decode(width, out)
    } else {
        let rule = Within {
            near: preset.near,
            max_value: preset.max_value,
            span: preset.range * (2 * preset.near + 1),
        };
        Walk::new(scan, rule, header, data).decode(width, out)
    }
}

/// How a sample follows from its prediction and error (T.87, A.4.4 and A.4.5).
trait Rule: Copy {
    /// NEAR.
    fn near(self) -> i32;

    /// MAXVAL.
    fn max_value(self) -> i32;

    /// Returns the sample; errors that lead out of the range come in on its other side.
    fn sample(self, prediction: i32, error: i32) -> i32;
}

/// Lossless, samples up to a power of two: all of them, but for parameters that few encoders write.
#[derive(Clone, Copy)]
struct Exact {
    max_value: i32,
}

impl Rule for Exact {
    #[inline]
    fn near(self) -> i32 {
        0
    }

    #[inline]
    fn max_value(self) -> i32 {
        self.max_value
    }

    #[inline]
    fn sample(self, prediction: i32, error: i32) -> i32 {
        (prediction + error) & self.max_value
    }
}

/// Near-lossless, or samples up to some other value.
#[derive(Clone, Copy)]
struct Within {
    near: i32,
    max_value: i32,
    /// RANGE · (2 · NEAR + 1).
    span: i32,
}

impl Rule for Within {
    #[inline]
    fn near(self) -> i32 {
        self.near
    }

    #[inline]
    fn max_value(self) -> i32 {
        self.max_value
    }

    #[inline]
    fn sample(self, prediction: i32, error: i32) -> i32 {
        let mut sample = prediction + error * (2 * self.near + 1);
        if sample < -self.near {
            sample += self.span;
        } else if sample > self.max_value + self.near {
            sample -= self.span;
        }
        sample.clamp(0, self.max_value)
    }
}

/// A scan on its way.
struct Walk<'a, R> {
    scan: &'a Scan,
    num_components: usize,
    data: &'a [u8],
    coder: Coder<'a, R>,
    lines: Vec<Lines>,
}

impl<'a, R: Rule> Walk<'a, R> {
    fn new(scan: &'a Scan, rule: R, header: &Header, data: &'a [u8]) -> Self {
        Self {
            scan,
            num_components: header.num_components(),
            data,
            coder: Coder::new(&scan.preset, rule, BitReader::new(data, 0)),
            lines: vec![Lines::new(header.size.width as usize); scan.components.len()],
        }
    }

    fn decode<S: Sample>(&mut self, width: usize, out: &mut [S]) -> Result<usize, Error> {
        let row_len = width * self.num_components;
        let num_rows = out.len() / row_len;
        let interval =
            if self.scan.restart_interval == 0 { num_rows } else { self.scan.restart_interval as usize };
        let mut end = 0;
        for (index, segment) in out.chunks_mut(row_len.saturating_mul(interval)).enumerate() {
            if index > 0 {
                self.restart(index, end)?;
            }
            for out in segment.chunks_mut(row_len) {
                self.line().map_err(|Stop| self.ended())?;
                if self.coder.reader.is_short() {
                    return Err(self.ended());
                }
                self.write(out);
            }
            end = self.end_segment()?;
        }
        Ok(end)
    }

    /// Decodes one line of every component.
    fn line(&mut self) -> Result<(), Stop> {
        self.lines.iter_mut().for_each(Lines::advance);
        match self.scan.interleave {
            Interleave::Line => self.lines.iter_mut().try_for_each(|lines| self.coder.line(lines)),
            Interleave::Sample => self.coder.interleaved(&mut self.lines),
        }
    }

    fn write<S: Sample>(&self, out: &mut [S]) {
        for (lines, &component) in self.lines.iter().zip(&self.scan.components) {
            let samples = lines.samples().iter().map(|&sample| S::of(sample as u32));
            if self.num_components == 1 {
                out.iter_mut().zip(samples).for_each(|(out, sample)| *out = sample);
            } else {
                let places = out[component..].iter_mut().step_by(self.num_components);
                places.zip(samples).for_each(|(out, sample)| *out = sample);
            }
        }
    }

    /// Passes the restart marker at `end` before segment `index`, and begins anew (T.87, A.8).
    fn restart(&mut self, index: usize, end: usize) -> Result<(), Error> {
        let expected = marker::RST0 + ((index - 1) % 8) as u8;
        let fill = self.data[end..].iter().take_while(|&&byte| byte == 0xFF).count();
        match self.data.get(end + fill) {
            Some(&code) if code == expected => {}
            Some(code) => return Err(corrupt(format!("marker FF{code:02X} where FF{expected:02X} belongs"))),
            None => return Err(no_end()),
        }
        self.coder.begin_again(BitReader::new(self.data, end + fill + 1));
        self.lines.iter_mut().for_each(Lines::clear);
        Ok(())
    }

    /// Checks that the segment holds all that was read, and no more; returns where it ends.
    fn end_segment(&self) -> Result<usize, Error> {
        let (balance, end) = self.coder.reader.finish();
        match balance {
            Balance::Even => Ok(end),
            Balance::Short => Err(self.ended()),
            Balance::Left if end >= self.data.len() => Err(no_end()),
            Balance::Left => Err(corrupt("image data are left over")),
        }
    }

    /// Names the cause of missing or absurd data.
    fn ended(&self) -> Error {
        let reader = self.coder.reader;
        let (balance, end) = reader.finish();
        match self.data.get(end + 1) {
            None if balance == Balance::Short => no_end(),
            _ if balance == Balance::Short => corrupt("the image data end before all of their samples"),
            _ => corrupt("the image data have a code that stands for nothing"),
        }
    }
}

fn no_end() -> Error {
    truncated("the object ends inside the image data")
}

/// No code stands here.
struct Stop;

/// Two lines of one component, each with a sample before its first and one behind its last.
#[derive(Clone)]
struct Lines {
    above: Vec<i32>,
    own: Vec<i32>,
    /// What the line above adds to the context of each sample.
    contexts: Vec<i16>,
    run: RunLength,
}

impl Lines {
    fn new(width: usize) -> Self {
        let line = vec![0; width + 2];
        Self { above: line.clone(), own: line, contexts: vec![0; width], run: RunLength::default() }
    }

    fn clear(&mut self) {
        self.above.fill(0);
        self.own.fill(0);
        self.run = RunLength::default();
    }

    /// Begins the next line: the sample before its first is the one above that, the one behind the last above is repeated.
    fn advance(&mut self) {
        std::mem::swap(&mut self.above, &mut self.own);
        let behind = self.above.len() - 1;
        self.above[behind] = self.above[behind - 1];
        self.own[0] = self.above[1];
    }

    fn samples(&self) -> &[i32] {
        &self.own[1..self.own.len() - 1]
    }
}

/// What all lines of a scan share.
struct Coder<'a, R> {
    gradients: Gradients,
    statistics: Statistics<R>,
    reader: BitReader<'a>,
}

impl<'a, R: Rule> Coder<'a, R> {
    fn new(preset: &Preset, rule: R, reader: BitReader<'a>) -> Self {
        Self { gradients: Gradients::new(preset), statistics: Statistics::new(preset, rule), reader }
    }

    /// Forgets what it has seen.
    fn begin_again(&mut self, reader: BitReader<'a>) {
        self.statistics = Statistics::new(&self.statistics.preset, self.statistics.rule);
        self.reader = reader;
    }

    /// Decodes a line of one component.
    fn line(&mut self, lines: &mut Lines) -> Result<(), Stop> {
        let Lines { above, own, contexts, run } = lines;
        self.gradients.of_line(above, contexts);
        let width = contexts.len();
        let (above, own) = (&above[..width + 2], &mut own[..width + 2]);
        // Copies stay in registers.
        let (mut reader, mut before) = (self.reader, own[0]);
        let mut x = 0;
        while x < width {
            let diagonal = above[x];
            let context = i32::from(contexts[x]) + self.gradients.quantised(diagonal - before);
            if context == 0 {
                self.reader = reader;
                x = self.run(run, x, above, own)?;
                (reader, before) = (self.reader, own[x]);
                continue;
            }
            let sample = self.statistics.regular(&mut reader, context, [before, above[x + 1], diagonal]);
            let Some(sample) = sample else {
                self.reader = reader;
                return Err(Stop);
            };
            own[x + 1] = sample;
            before = sample;
            x += 1;
        }
        self.reader = reader;
        Ok(())
    }

    /// Decodes a run from sample `x` on, with the sample that ends it; returns where it is over.
    fn run(&mut self, run: &mut RunLength, x: usize, above: &[i32], own: &mut [i32]) -> Result<usize, Stop> {
        let width = own.len() - 2;
        let end = x + run.take(&mut self.reader, width - x).ok_or(Stop)?;
        let before = own[x];
        own[x + 1..=end].fill(before);
        if end < width {
            own[end + 1] =
                self.statistics.end_of_run(&mut self.reader, run, before, above[end + 1]).ok_or(Stop)?;
        }
        Ok(end + 1)
    }

    /// Decodes a line of several components, sample by sample: a run is one of all of them.
    fn interleaved(&mut self, lines: &mut [Lines]) -> Result<(), Stop> {
        for lines in &mut *lines {
            self.gradients.of_line(&lines.above, &mut lines.contexts);
        }
        let width = lines[0].contexts.len();
        let mut x = 0;
        while x < width {
            let context = |gradients: &Gradients, lines: &Lines| {
                i32::from(lines.contexts[x]) + gradients.quantised(lines.above[x] - lines.own[x])
            };
            if lines.iter().all(|lines| context(&self.gradients, lines) == 0) {
                x = self.interleaved_run(lines, x)?;
                continue;
            }
            for lines in &mut *lines {
                let neighbours = [lines.own[x], lines.above[x + 1], lines.above[x]];
                let context = context(&self.gradients, lines);
                lines.own[x + 1] =
                    self.statistics.regular(&mut self.reader, context, neighbours).ok_or(Stop)?;
            }
            x += 1;
        }
        Ok(())
    }

    /// Decodes a run of all components from sample `x` on, with the samples that end it; returns where it is over.
    fn interleaved_run(&mut self, lines: &mut [Lines], x: usize) -> Result<usize, Stop> {
        let width = lines[0].contexts.len();
        let mut run = lines[0].run;
        let end = x + run.take(&mut self.reader, width - x).ok_or(Stop)?;
        // Its length counts once, not once for each component.
        let length = run;
        for lines in &mut *lines {
            let before = lines.own[x];
            lines.own[x + 1..=end].fill(before);
            if end < width {
                run = length;
                let above = lines.above[end + 1];
                let sample = self.statistics.end_of_shared_run(&mut self.reader, &mut run, before, above);
                lines.own[end + 1] = sample.ok_or(Stop)?;
            }
        }
        lines[0].run = run;
        Ok(end + 1)
    }
}

/// What is known of errors so far.
struct Statistics<R> {
    rule: R,
    preset: Preset,
    contexts: [Context; NUM_CONTEXTS],
    run_contexts: [RunContext; 2],
}

impl<R: Rule> Statistics<R> {
    fn new(preset: &Preset, rule: R) -> Self {
        Self {
            rule,
            preset: *preset,
            contexts: [Context::new(preset); NUM_CONTEXTS],
            run_contexts: [RunContext::new(preset); 2],
        }
    }

    /// Decodes the sample that ends a run (T.87, A.7.2).
    fn end_of_run(
        &mut self,
        reader: &mut BitReader<'_>,
        run: &mut RunLength,
        before: i32,
        above: i32,
    ) -> Option<i32> {
        if (before - above).abs() > self.rule.near() {
            return self.end_of_shared_run(reader, run, before, above);
        }
        let error = run.take_end(reader, &self.preset, &mut self.run_contexts[1], true)?;
        Some(self.rule.sample(before, error))
    }

    /// Decodes a sample that ends a run of several components, or one whose neighbours differ.
    fn end_of_shared_run(
        &mut self,
        reader: &mut BitReader<'_>,
        run: &mut RunLength,
        before: i32,
        above: i32,
    ) -> Option<i32> {
        let error = run.take_end(reader, &self.preset, &mut self.run_contexts[0], false)?;
        Some(self.rule.sample(above, if before > above { -error } else { error }))
    }

    /// Decodes a sample of the regular mode (T.87, A.4 to A.6).
    ///
    /// - `context`: its sign says whether errors are counted with the opposite one
    #[expect(clippy::inline_always, reason = "a call would keep the reader in memory")]
    #[inline(always)]
    fn regular(
        &mut self,
        reader: &mut BitReader<'_>,
        context: i32,
        [before, above, diagonal]: [i32; 3],
    ) -> Option<i32> {
        let sign = context >> 31;
        let context = &mut self.contexts[context.unsigned_abs() as usize];
        // The median of three: the same as the rule with two cases (T.87, A.4.1).
        let edge = (before + above - diagonal).clamp(before.min(above), before.max(above));
        let corrected = edge + ((context.correction() ^ sign) - sign);
        let prediction = corrected.clamp(0, self.rule.max_value());
        let code = take_code(reader, context.parameter(), self.preset.limit, self.preset.error_bits)?;
        let error = context.error(code);
        if error.unsigned_abs() > self.preset.range as u32 {
            return None;
        }
        context.update(error, self.rule.near(), self.preset.reset);
        Some(self.rule.sample(prediction, (error ^ sign) - sign))
    }
}

/// Quantises gradients to nine steps (T.87, A.3.3).
struct Gradients {
    thresholds: [i32; 3],
    near: i32,
    /// The steps from the negative of the last threshold to the threshold; beyond it is as at it.
    steps: Vec<i8>,
}

impl Gradients {
    fn new(preset: &Preset) -> Self {
        let Preset { thresholds, near, .. } = *preset;
        let last = thresholds[2];
        let steps = (-last..=last).map(|gradient| step(gradient, thresholds, near) as i8).collect();
        Self { thresholds, near, steps }
    }

    #[inline]
    fn quantised(&self, gradient: i32) -> i32 {
        let last = self.thresholds[2];
        self.steps[(gradient.clamp(-last, last) + last) as usize].into()
    }

    /// Returns for each sample the part of its context that the line above decides.
    fn of_line(&self, above: &[i32], contexts: &mut [i16]) {
        let (thresholds, near) = (self.thresholds, self.near);
        let neighbours = above.iter().zip(&above[1..]).zip(&above[2..]);
        for (context, ((diagonal, above), behind)) in contexts.iter_mut().zip(neighbours) {
            let (first, second) =
                (step(behind - above, thresholds, near), step(above - diagonal, thresholds, near));
            *context = (81 * first + 9 * second) as i16;
        }
    }
}

/// Returns −4 to 4.
#[inline]
fn step(gradient: i32, [first, second, third]: [i32; 3], near: i32) -> i32 {
    let over = |limit: i32| i32::from(gradient >= limit) - i32::from(gradient <= -limit);
    over(near + 1) + over(first) + over(second) + over(third)
}
