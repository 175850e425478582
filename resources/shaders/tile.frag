#version 440
// Packed I420 (Y above, U in the left half and V in the right half below it, all in one R8 texture) to RGB, and what
// lies over it. Baked by script/bake-shaders.
layout(location = 0) in vec2 v_uv;
layout(location = 1) in vec2 v_stage;
layout(location = 2) in vec4 v_picture;
layout(location = 3) in vec4 v_ground;
layout(location = 4) in vec4 v_chroma;
layout(location = 5) in vec2 v_luma;
layout(location = 6) in vec2 v_spread;

layout(location = 0) out vec4 color;
layout(binding = 1) uniform sampler2D planes;
layout(binding = 2) uniform sampler2D overlay;   // the whole stage, painted by QPainter, premultiplied

vec3 yuv(vec2 y_at)
{
    vec2 size = v_picture.xy;
    float stride = v_picture.z;
    vec2 chroma = floor(size * 0.5 + 0.5);
    vec2 whole = vec2(stride, size.y + chroma.y);
    // Clamped half a texel inside each plane, so that linear filtering never mixes two planes.
    vec2 c_at = clamp(y_at * 0.5, vec2(0.5), chroma - 0.5) + vec2(0.0, size.y);
    y_at = clamp(y_at, vec2(0.5), size - 0.5);
    return vec3(texture(planes, y_at / whole).r, texture(planes, c_at / whole).r,
                texture(planes, vec2(c_at.x + stride * 0.5, c_at.y) / whole).r);
}

void main()
{
    vec2 at = v_uv * v_picture.xy;
    vec3 seen;
    if (max(v_spread.x, v_spread.y) > 0.0) {
        vec2 other = vec2(v_spread.x, -v_spread.y);
        seen = 0.25 * (yuv(at - v_spread) + yuv(at + v_spread) + yuv(at - other) + yuv(at + other));
    } else {
        seen = yuv(at);
    }
    float y = v_luma.y * (seen.x - v_luma.x);
    float u = seen.y - 0.50196;
    float v = seen.z - 0.50196;
    vec3 rgb = clamp(vec3(y + v_chroma.x * v, y - v_chroma.y * u - v_chroma.z * v, y + v_chroma.w * u), 0.0, 1.0);
    vec2 inside = step(vec2(0.0), v_uv) * step(v_uv, vec2(1.0));
    rgb = mix(v_ground.rgb, rgb, inside.x * inside.y * v_picture.w);
    vec4 over = texture(overlay, v_stage);
    color = vec4(over.rgb + rgb * (1.0 - over.a), 1.0);
}
