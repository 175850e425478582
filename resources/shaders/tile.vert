#version 440
// Four vertices = one tile (triangle strip). The tile's values are repeated in each of them, so that neither
// instancing nor gl_VertexIndex is needed (GLSL 120 and ES 100 have none). Baked by script/bake-shaders.
layout(location = 0) in vec4 rect;      // x, y, w, h on the stage, device pixels, y down
layout(location = 1) in vec4 crop;      // u0, v0, u1, v1: the part of the picture the tile shows; outside 0..1 there is ground
layout(location = 2) in vec4 picture;   // width, height, stride of the luma plane; 1 when there is a picture, else 0
layout(location = 3) in vec4 ground;    // colour beside the picture
layout(location = 4) in vec4 chroma;    // V to R, U to G, V to G, U to B
layout(location = 5) in vec4 luma;      // offset, gain; corner of the tile: 0 or 1, 0 or 1

layout(location = 0) out vec2 v_uv;
layout(location = 1) out vec2 v_stage;  // place on the stage, 0..1, for what lies over the pictures
layout(location = 2) out vec4 v_picture;
layout(location = 3) out vec4 v_ground;
layout(location = 4) out vec4 v_chroma;
layout(location = 5) out vec2 v_luma;
layout(location = 6) out vec2 v_spread; // luma texels from the middle at which a shrunk picture is sampled

layout(std140, binding = 0) uniform Stage {
    mat4 projection;                    // device pixels to clip space, with QRhi's correction
    vec4 stage;                         // width, height in device pixels
};

void main()
{
    vec2 corner = luma.zw;
    v_uv = mix(crop.xy, crop.zw, corner);
    v_picture = picture;
    v_ground = ground;
    v_chroma = chroma;
    v_luma = luma.xy;
    v_spread = max((abs(crop.zw - crop.xy) * picture.xy / rect.zw - 2.0) * 0.5, vec2(0.0));
    vec2 at = rect.xy + corner * rect.zw;
    v_stage = at / stage.xy;
    gl_Position = projection * vec4(at, 0.0, 1.0);
}
