/* Stands for TensorRT's library: cc -shared -fPIC -o libnvinfer.so.8 nvinfer.c
 * FAKE_TENSORRT is the number that the real one gives, such as 8603. */
#include <stdlib.h>

int getInferLibVersion(void) {
    const char *number = getenv("FAKE_TENSORRT");
    return number ? atoi(number) : 8603;
}
