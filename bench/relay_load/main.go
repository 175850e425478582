// A load of participants for a LiveKit server: each publishes one VP8 file and Opus, and receives all others.
//
// With -deaf they publish only: a load for the receivers that bench/receive.py measures.
//
// It stands on Pion with its usual interceptors (NACK, reports, transport-wide feedback), so that a server's answers to those
// cost what they cost with real clients. It decodes nothing. Report: JSON on stdout.
//
//	relay-load -url ws://host:port -room r -participants 8 -seconds 20 -video file.ivf [-audio file.opuspackets] [-deaf]
//	(LIVEKIT_KEY, LIVEKIT_SECRET)
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"google.golang.org/protobuf/proto"
)

var (
	address      = flag.String("url", "ws://127.0.0.1:7880", "server")
	room         = flag.String("room", "load", "room")
	participants = flag.Int("participants", 8, "how many")
	seconds      = flag.Float64("seconds", 20, "measured, after all have joined")
	settle       = flag.Float64("settle", 4, "seconds between the last join and the measurement")
	video        = flag.String("video", "", "IVF file")
	audio        = flag.String("audio", "", "Opus packets of 20 ms, each after its length in two bytes, big-endian; without it one loud block")
	deaf         = flag.Bool("deaf", false, "publish only, receive nothing")
)

type counts struct{ received, lost, repeated, tracks, bytes atomic.Int64 }

var (
	all       counts
	measuring atomic.Bool
	frames    [][]byte
	blocks    [][]byte
	width     uint32
	height    uint32
	interval  time.Duration
)

type client struct {
	ws       *websocket.Conn
	lock     sync.Mutex
	pub, sub *webrtc.PeerConnection
	acks     chan string
	answers  chan string
	early    []webrtc.ICECandidateInit
}

func (c *client) send(r *livekit.SignalRequest) {
	data, _ := proto.Marshal(r)
	c.lock.Lock()
	defer c.lock.Unlock()
	_ = c.ws.WriteMessage(websocket.BinaryMessage, data)
}

func newAPI() (*webrtc.API, error) {
	engine := &webrtc.MediaEngine{}
	if err := engine.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	registry := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(engine, registry); err != nil {
		return nil, err
	}
	if err := webrtc.ConfigureTWCCHeaderExtensionSender(engine, registry); err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	settings.SetReceiveMTU(1600)
	return webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(settings)), nil
}

func (c *client) candidate(target livekit.SignalTarget) func(*webrtc.ICECandidate) {
	return func(candidate *webrtc.ICECandidate) {
		if candidate == nil {
			return
		}
		text, _ := json.Marshal(candidate.ToJSON())
		c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Trickle{
			Trickle: &livekit.TrickleRequest{CandidateInit: string(text), Target: target}}})
	}
}

func join(name string) (*client, error) {
	token, err := auth.NewAccessToken(os.Getenv("LIVEKIT_KEY"), os.Getenv("LIVEKIT_SECRET")).SetIdentity(name).
		SetValidFor(10 * time.Minute).SetVideoGrant(&auth.VideoGrant{RoomJoin: true, Room: *room}).ToJWT()
	if err != nil {
		return nil, err
	}
	subscribe := "1"
	if *deaf {
		subscribe = "0"
	}
	ws, _, err := websocket.DefaultDialer.Dial(*address+"/rtc?protocol=15&sdk=python&auto_subscribe="+subscribe,
		http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		return nil, err
	}
	api, err := newAPI()
	if err != nil {
		return nil, err
	}
	c := &client{ws: ws, acks: make(chan string, 4), answers: make(chan string, 4)}
	if c.pub, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, err
	}
	if c.sub, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, err
	}
	c.pub.OnICECandidate(c.candidate(livekit.SignalTarget_PUBLISHER))
	c.sub.OnICECandidate(c.candidate(livekit.SignalTarget_SUBSCRIBER))
	c.sub.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { all.tracks.Add(1); receive(track) })
	joined := make(chan struct{})
	go c.listen(joined)
	select {
	case <-joined:
	case <-time.After(10 * time.Second):
		return nil, errors.New("no join response")
	}
	return c, nil
}

func (c *client) listen(joined chan struct{}) {
	for {
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		r := &livekit.SignalResponse{}
		if proto.Unmarshal(data, r) != nil {
			continue
		}
		switch m := r.Message.(type) {
		case *livekit.SignalResponse_Join:
			close(joined)
		case *livekit.SignalResponse_TrackPublished:
			c.acks <- m.TrackPublished.Cid
		case *livekit.SignalResponse_Answer:
			c.answers <- m.Answer.Sdp
		case *livekit.SignalResponse_Offer:
			if err := c.answer(m.Offer); err != nil {
				fmt.Fprintln(os.Stderr, "answer:", err)
			}
		case *livekit.SignalResponse_Trickle:
			var init webrtc.ICECandidateInit
			if json.Unmarshal([]byte(m.Trickle.CandidateInit), &init) != nil {
				continue
			}
			pc := c.sub
			if m.Trickle.Target == livekit.SignalTarget_PUBLISHER {
				pc = c.pub
			}
			if pc.RemoteDescription() == nil {
				c.early = append(c.early, init)
			} else {
				_ = pc.AddICECandidate(init)
			}
		}
	}
}

func (c *client) answer(offer *livekit.SessionDescription) error {
	if err := c.sub.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.Sdp}); err != nil {
		return err
	}
	for _, init := range c.early {
		_ = c.sub.AddICECandidate(init)
	}
	c.early = nil
	answer, err := c.sub.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err = c.sub.SetLocalDescription(answer); err != nil {
		return err
	}
	c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Answer{
		Answer: &livekit.SessionDescription{Type: "answer", Sdp: answer.SDP, Id: offer.Id}}})
	return nil
}

func (c *client) publish(name string) error {
	if _, err := c.pub.CreateDataChannel("_reliable", nil); err != nil {
		return err
	}
	sound, _ := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, name+"-a", name)
	picture, _ := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, name+"-v", name)
	for _, t := range []struct {
		track  webrtc.TrackLocal
		kind   livekit.TrackType
		source livekit.TrackSource
	}{{sound, livekit.TrackType_AUDIO, livekit.TrackSource_MICROPHONE}, {picture, livekit.TrackType_VIDEO, livekit.TrackSource_CAMERA}} {
		c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_AddTrack{AddTrack: &livekit.AddTrackRequest{
			Cid: t.track.ID(), Type: t.kind, Source: t.source, Name: t.track.ID(), Width: width, Height: height, DisableRed: true}}})
		select {
		case <-c.acks:
		case <-time.After(10 * time.Second):
			return errors.New("no track_published")
		}
		sender, err := c.pub.AddTransceiverFromTrack(t.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			return err
		}
		go func() { // RTCP must be read for the interceptors to see it
			buffer := make([]byte, 1500)
			for {
				if _, _, err := sender.Sender().Read(buffer); err != nil {
					return
				}
			}
		}()
	}
	up := make(chan struct{})
	var once sync.Once
	c.pub.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(up) })
		}
	})
	offer, err := c.pub.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err = c.pub.SetLocalDescription(offer); err != nil {
		return err
	}
	c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Offer{Offer: &livekit.SessionDescription{Type: "offer", Sdp: offer.SDP, Id: 1}}})
	select {
	case sdp := <-c.answers:
		if err = c.pub.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp}); err != nil {
			return err
		}
	case <-time.After(10 * time.Second):
		return errors.New("no answer")
	}
	select {
	case <-up:
	case <-time.After(10 * time.Second):
		return errors.New("publisher did not connect")
	}
	go speak(sound)
	go show(picture)
	go func() {
		for range time.Tick(5 * time.Second) {
			c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_PingReq{PingReq: &livekit.Ping{Timestamp: time.Now().UnixMilli()}}})
		}
	}()
	return nil
}

func speak(track *webrtc.TrackLocalStaticSample) {
	next := time.Now()
	for i := 0; ; i++ {
		_ = track.WriteSample(media.Sample{Data: blocks[i%len(blocks)], Duration: 20 * time.Millisecond})
		next = next.Add(20 * time.Millisecond)
		time.Sleep(time.Until(next))
	}
}

func show(track *webrtc.TrackLocalStaticSample) {
	next := time.Now()
	for i := 0; ; i++ {
		_ = track.WriteSample(media.Sample{Data: frames[i%len(frames)], Duration: interval})
		next = next.Add(interval)
		time.Sleep(time.Until(next))
	}
}

func receive(track *webrtc.TrackRemote) {
	missing := map[uint16]bool{}
	var highest uint16
	started := false
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		if !measuring.Load() {
			started = false
			continue
		}
		number := packet.SequenceNumber
		if !started {
			started, highest = true, number
			missing = map[uint16]bool{}
			continue
		}
		all.received.Add(1)
		all.bytes.Add(int64(len(packet.Payload)))
		step := number - highest
		switch {
		case step == 0:
			all.repeated.Add(1)
		case step < 0x8000:
			for k := highest + 1; k != number; k++ {
				missing[k] = true
				all.lost.Add(1)
			}
			highest = number
		case missing[number]:
			delete(missing, number)
			all.lost.Add(-1)
		default:
			all.repeated.Add(1)
		}
	}
}

func loadSound() error {
	if *audio == "" {
		block := make([]byte, 80) // 32 kb/s
		block[0] = 0xf8
		blocks = [][]byte{block}
		return nil
	}
	data, err := os.ReadFile(*audio)
	if err != nil {
		return err
	}
	for at := 0; at+2 <= len(data); {
		end := at + 2 + int(binary.BigEndian.Uint16(data[at:]))
		if end > len(data) {
			return errors.New("the file of Opus packets is cut short")
		}
		blocks = append(blocks, data[at+2:end])
		at = end
	}
	if len(blocks) == 0 {
		return errors.New("the file of Opus packets is empty")
	}
	return nil
}

func load() error {
	if err := loadSound(); err != nil {
		return err
	}
	file, err := os.Open(*video)
	if err != nil {
		return err
	}
	defer file.Close()
	reader, header, err := ivfreader.NewWith(file)
	if err != nil {
		return err
	}
	width, height = uint32(header.Width), uint32(header.Height)
	interval = time.Second * time.Duration(header.TimebaseNumerator) / time.Duration(header.TimebaseDenominator)
	for {
		frame, _, err := reader.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		frames = append(frames, frame)
	}
}

func main() {
	flag.Parse()
	if err := load(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; i < *participants; i++ {
		name := fmt.Sprintf("p%d", i)
		c, err := join(name)
		if err == nil {
			err = c.publish(name)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, name, err)
			os.Exit(1)
		}
	}
	want := int64(2 * *participants * (*participants - 1))
	if *deaf {
		want = 0
	}
	for ends := time.Now().Add(20 * time.Second); all.tracks.Load() < want && time.Now().Before(ends); {
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(time.Duration(*settle * float64(time.Second)))
	fmt.Println("measuring")
	measuring.Store(true)
	began := time.Now()
	time.Sleep(time.Duration(*seconds * float64(time.Second)))
	taken := time.Since(began).Seconds()
	measuring.Store(false)
	report, _ := json.Marshal(map[string]any{"tracks": all.tracks.Load(), "expected_tracks": want, "received": all.received.Load(),
		"lost": all.lost.Load(), "repeated": all.repeated.Load(), "bits_per_s": float64(all.bytes.Load()) * 8 / taken, "seconds": taken})
	fmt.Println(string(report))
}
