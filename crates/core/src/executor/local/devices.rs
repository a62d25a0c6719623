//! Which GPUs this machine has.

use std::path::Path;

/// The GPUs that a program started here would see: those of `CUDA_VISIBLE_DEVICES` if it is set, else one number for
/// each folder that NVIDIA's driver shows under `/proc/driver/nvidia/gpus`.
pub(super) fn visible(cuda_visible_devices: Option<&str>, driver: &Path) -> Vec<String> {
    match cuda_visible_devices {
        // A negative number ends the list (CUDA C++ Programming Guide, "CUDA Environment Variables").
        Some(list) => list
            .split(',')
            .map(str::trim)
            .take_while(|device| !device.is_empty() && !device.starts_with('-'))
            .map(str::to_owned)
            .collect(),
        None => {
            let count = std::fs::read_dir(driver).map_or(0, |entries| entries.flatten().count());
            (0..count).map(|number| number.to_string()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_before_the_driver() {
        let none = Path::new("/no/such/folder");
        assert_eq!(visible(Some("0, 3"), none), ["0", "3"]);
        assert_eq!(visible(Some("GPU-aa,GPU-bb"), none), ["GPU-aa", "GPU-bb"]);
        assert_eq!(visible(Some("1,-1,2"), none), ["1"]);
        assert!(visible(Some(""), none).is_empty());
        assert!(visible(None, none).is_empty());
    }
}
