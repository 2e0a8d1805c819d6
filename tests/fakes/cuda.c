/* Stands for CUDA's driver: cc -shared -fPIC -o libcuda.so.1 cuda.c
 * FAKE_GPUS is the GPUs, such as "NVIDIA A10:8.6;Tesla T4:7.5"; none without it.
 * FAKE_CUDA_ERROR is what cuInit answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *gpu(int index) {
    const char *at = getenv("FAKE_GPUS");
    while (at && *at && index-- > 0) {
        at = strchr(at, ';');
        at = at ? at + 1 : NULL;
    }
    return at && *at ? at : NULL;
}

int cuInit(unsigned int flags) {
    const char *code = getenv("FAKE_CUDA_ERROR");
    (void)flags;
    if (code) return atoi(code);
    return gpu(0) ? 0 : 100; /* CUDA_ERROR_NO_DEVICE */
}

int cuGetErrorString(int code, const char **text) {
    *text = code == 100 ? "no CUDA-capable device is detected" : "an error";
    return 0;
}

int cuDeviceGetCount(int *count) {
    for (*count = 0; gpu(*count); ++*count) {
    }
    return 0;
}

int cuDeviceGet(int *device, int index) {
    *device = index;
    return gpu(index) ? 0 : 101; /* CUDA_ERROR_INVALID_DEVICE */
}

int cuDeviceGetName(char *name, int size, int device) {
    const char *at = gpu(device);
    if (!at) return 101;
    snprintf(name, size, "%.*s", (int)strcspn(at, ":"), at);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    const char *at = gpu(device);
    int major = 0, minor = 0;
    if (!at || sscanf(strchr(at, ':'), ":%d.%d", &major, &minor) != 2) return 101;
    *value = attribute == 75 ? major : attribute == 76 ? minor : 0;
    return 0;
}
