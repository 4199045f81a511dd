//! Calls into the CUDA driver, each behind a type that holds what the call relies on.
//!
//! What is relied on everywhere: nothing here exists before [`start`] found the library, so no call panics for want of it,
//! and found it of CUDA 13.0 or newer, so it has every function that is called. A context outlives whatever was made in it,
//! because all of that holds it.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_uint};
use std::ptr;
use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};

use super::missing::{Missing, Version};
use super::target::Arch;
use crate::device::cuda::runtime::{Address, Memory};
use crate::problem::ExecError;

/// The oldest driver with every function that is called here.
const NEEDED: Version = Version { major: 13, minor: 0 };

/// What came back, by its name where the driver has one for it.
fn told(error: DriverError) -> String {
    let number = error.0 as c_uint;
    match (error.error_name(), error.error_string()) {
        (Ok(name), Ok(text)) => format!("{} ({})", text.to_string_lossy(), name.to_string_lossy()),
        _ => format!("error {number}"),
    }
}

/// Wraps an error with what was attempted.
pub(super) fn failed(attempt: &'static str) -> impl FnOnce(DriverError) -> ExecError {
    move |error| match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => ExecError::DeviceMemory { bytes: 0 },
        _ => ExecError::Device { what: format!("the CUDA device cannot {attempt}: {}", told(error)) },
    }
}

/// Finds the driver, and says what it is of.
pub(super) fn version() -> Result<Version, Missing> {
    // SAFETY: opens the driver's library, whose initialisers are NVIDIA's, and closes it.
    if !unsafe { sys::is_culib_present() } {
        return Err(Missing::Driver);
    }
    let mut number: c_int = 0;
    // SAFETY: writes one integer; every driver has this function, and it needs no start.
    unsafe { sys::cuDriverGetVersion(&mut number) }.result().map_err(no_start)?;
    let number = number.unsigned_abs();
    Ok(Version { major: number / 1000, minor: number % 1000 / 10 })
}

/// Finds the driver and starts it, as often as one likes.
pub(super) fn start() -> Result<(), Missing> {
    let found = version()?;
    if found < NEEDED {
        return Err(Missing::DriverTooOld { found, needed: NEEDED });
    }
    result::init().map_err(|error| match error.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => Missing::Card,
        _ => no_start(error),
    })
}

fn no_start(error: DriverError) -> Missing {
    Missing::Other { what: format!("The CUDA driver does not start: {}.", told(error)) }
}

/// A card of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Card(sys::CUdevice);

impl Card {
    /// How many there are, once the driver has been started.
    pub(super) fn count() -> Result<usize, ExecError> {
        let count = result::device::get_count().map_err(failed("count its cards"))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// One of them.
    pub(super) fn get(ordinal: usize) -> Result<Self, ExecError> {
        let ordinal = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
        result::device::get(ordinal).map(Self).map_err(failed("open a card"))
    }

    /// What it calls itself.
    pub(super) fn name(self) -> Result<String, ExecError> {
        result::device::get_name(self.0).map_err(failed("say its name"))
    }

    /// What it can do.
    pub(super) fn arch(self) -> Result<Arch, ExecError> {
        Ok(Arch {
            major: self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            minor: self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        })
    }

    /// Multiprocessors.
    pub(super) fn processors(self) -> Result<u32, ExecError> {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    fn attribute(self, attribute: Attribute) -> Result<u32, ExecError> {
        // SAFETY: `self.0` came from the driver.
        let value = unsafe { result::device::get_attribute(self.0, attribute) };
        value.map(|v| v.unsigned_abs()).map_err(failed("say what it can do"))
    }
}

/// The primary context of a card, which all of a process shares.
#[derive(Debug)]
pub(super) struct Context {
    card: Card,
    raw: sys::CUcontext,
}

// SAFETY: a context may be current in any number of threads, and the driver's functions may be called from all of them.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Of a card.
    pub(super) fn of(card: Card) -> Result<Arc<Self>, ExecError> {
        // SAFETY: the card came from the driver; released in `drop`, once.
        let raw = unsafe { result::primary_ctx::retain(card.0) }.map_err(failed("begin"))?;
        Ok(Arc::new(Self { card, raw }))
    }

    /// Makes it the calling thread's, which nearly every function goes by.
    pub(super) fn enter(&self) -> Result<(), ExecError> {
        // SAFETY: retained, and not released before `drop`.
        unsafe { result::ctx::set_current(self.raw) }.map_err(failed("be used from another thread"))
    }

    /// Free and all memory.
    pub(super) fn memory(&self) -> Result<Memory, ExecError> {
        self.enter()?;
        let (free, total) = result::mem_get_info().map_err(failed("say how much memory it has"))?;
        Ok(Memory { free: free as u64, total: total as u64 })
    }

    /// Memory of the card.
    pub(super) fn allocate(&self, bytes: usize) -> Result<Address, ExecError> {
        self.enter()?;
        // SAFETY: not of length zero, which is all that the driver asks.
        unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => ExecError::DeviceMemory { bytes },
            _ => failed("allocate memory")(error),
        })
    }

    /// Gives memory back that nothing that is queued uses.
    pub(super) fn free(&self, at: Address) {
        if self.enter().is_ok() {
            // SAFETY: the driver knows what it allocated, and refuses other addresses; nothing that is queued uses it.
            let _ = unsafe { result::free_sync(at) };
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once; whatever was made in it held it, and is gone.
        let _ = unsafe { result::primary_ctx::release(self.card.0) };
    }
}

/// A kernel that lies on a card, ready to be launched.
#[derive(Debug)]
pub(super) struct Function {
    context: Arc<Context>,
    module: sys::CUmodule,
    raw: sys::CUfunction,
    words: usize,
}

// SAFETY: handles of the driver, usable from any thread in which their context is current.
unsafe impl Send for Function {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Function {}

impl Function {
    /// Loads an image, whole as NVRTC made it, and finds the kernel `name` in it, whose only parameter is `words` words.
    pub(super) fn load(
        context: &Arc<Context>,
        image: &[u8],
        name: &str,
        words: usize,
    ) -> Result<Self, ExecError> {
        context.enter()?;
        let wrong = |what: &str| ExecError::Device { what: format!("the kernel {name} {what}") };
        let name = CString::new(name).map_err(|_| wrong("has no name for a kernel"))?;
        // The driver is given no length: it reads a text to its zero, and of a cubin what its header says.
        if image.last() != Some(&0) && !image.starts_with(b"\x7fELF") {
            return Err(wrong("is neither a cubin nor a text that ends"));
        }
        // SAFETY: the image is whole: NVRTC's own, or with the checksum that it was stored with.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        let module = module.map_err(failed("load a kernel"))?;
        let mut function = Self { context: Arc::clone(context), module, raw: ptr::null_mut(), words };
        // SAFETY: the module was just loaded; should this fail, dropping `function` unloads it.
        let raw = unsafe { result::module::get_function(module, name) };
        function.raw = raw.map_err(failed("find a kernel in what was compiled"))?;
        let (mut offset, mut bytes) = (0, 0);
        // SAFETY: the function was just found; two integers are written.
        unsafe { sys::cuFuncGetParamInfo(function.raw, 0, &mut offset, &mut bytes) }
            .result()
            .map_err(failed("say what a kernel takes"))?;
        // SAFETY: as above. A second parameter would be read from behind the only pointer of a launch.
        let second = unsafe { sys::cuFuncGetParamInfo(function.raw, 1, &mut offset, &mut 0) };
        match (bytes == 8 * words, second == CUresult::CUDA_SUCCESS) {
            (true, false) => Ok(function),
            _ => Err(wrong(&format!("does not take {words} words and nothing else"))),
        }
    }

    /// Whether it lies on the card of this context.
    pub(super) fn is_of(&self, context: &Arc<Context>) -> bool {
        Arc::ptr_eq(&self.context, context)
    }

    /// Words that it takes.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// What the driver knows it by, and how many words it takes.
    pub(super) fn parts(&self) -> (sys::CUfunction, usize) {
        (self.raw, self.words)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: loaded once; a lane keeps the kernels of its device until it has waited for its work.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}
