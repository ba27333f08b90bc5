//go:build linux

// localnode is a Kubernetes node whose pods are processes of this machine: it registers a
// Node, watches the pods bound to it, runs their containers and reports their status.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"
	"k8s.io/kubernetes/pkg/util/taints"
)

// images has the program, with its arguments, that each image starts, by the image's name without a tag.
type images map[string][]string

func (m images) String() string { return fmt.Sprint(map[string][]string(m)) }

func (m images) Set(s string) error {
	name, program, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("want IMAGE=PROGRAM [ARGUMENTS], got %q", s)
	}
	m[name] = strings.Fields(program)
	return nil
}

// entrypoint returns what an image starts, whatever its tag or digest.
func (m images) entrypoint(image string) ([]string, error) {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	if program, ok := m[name]; ok {
		return program, nil
	}
	return nil, fmt.Errorf("image %q: the container has no command, and no -image says what it starts", image)
}

// binds are folders of the machine that every container sees, read-only: what its image would have.
type binds []mount

func (b *binds) String() string { return fmt.Sprint(*b) }

func (b *binds) Set(s string) error {
	source, target, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("want FOLDER=PATH, got %q", s)
	}
	*b = append(*b, mount{source, target, true})
	return nil
}

type nodeAgent struct {
	name, root string
	client     kubernetes.Interface
	cfg        *rest.Config
	rec        record.EventRecorder
	images     images
	binds      binds
	backoff    time.Duration
	apiHost    string
	apiPort    string

	mu   sync.Mutex
	pods map[types.UID]*podRun
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "container-shim" {
		shim(os.Args[2])
	}
	n := &nodeAgent{images: images{}, pods: map[types.UID]*podRun{}}
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "how to reach the API server")
	flag.StringVar(&n.name, "name", "local", "the node's name")
	flag.StringVar(&n.root, "root", "/var/lib/localnode", "folder for pods' files and logs")
	flag.Var(n.images, "image", "IMAGE=PROGRAM [ARGUMENTS]: what an image starts; may be repeated")
	flag.Var(&n.binds, "bind", "FOLDER=PATH: a folder of this machine that every container sees at a path, read-only; may be repeated")
	flag.DurationVar(&n.backoff, "restart-backoff", 2*time.Second, "first wait before a restart; doubles up to 5 minutes")
	port := flag.Int("port", 0, "port for kubectl logs, on 127.0.0.1; 0: a free one")
	cpu := flag.String("cpu", strconv.Itoa(runtime.NumCPU()), "cpu capacity shown to the scheduler")
	memory := flag.String("memory", "8Gi", "memory capacity shown to the scheduler")
	extended := flag.String("extended", "", "extended resource, such as nvidia.com/gpu=1")
	taint := flag.String("taint", "", "taint of the node, such as spot=true:NoSchedule")
	flag.Parse()

	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 200, 400
	n.cfg = cfg
	n.apiHost, n.apiPort, _ = net.SplitHostPort(strings.TrimPrefix(cfg.Host, "https://"))
	n.client = kubernetes.NewForConfigOrDie(cfg)
	b := record.NewBroadcaster()
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: n.client.CoreV1().Events("")})
	n.rec = b.NewRecorder(scheme.Scheme, v1.EventSource{Component: "localnode", Host: n.name})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	capacity := v1.ResourceList{
		v1.ResourceCPU: resource.MustParse(*cpu), v1.ResourceMemory: resource.MustParse(*memory),
		v1.ResourcePods: resource.MustParse("110"), v1.ResourceEphemeralStorage: resource.MustParse("50Gi"),
	}
	if k, v, ok := strings.Cut(*extended, "="); ok {
		capacity[v1.ResourceName(k)] = resource.MustParse(v)
	}
	if err := n.register(ctx, capacity, *taint, n.serveLogs(*port)); err != nil {
		log.Fatal(err)
	}
	go n.heartbeat(ctx)

	f := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", n.name).String()
	}))
	_, err = f.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { n.seen(ctx, o.(*v1.Pod)) },
		UpdateFunc: func(_, o any) { n.seen(ctx, o.(*v1.Pod)) },
		DeleteFunc: func(o any) {
			if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = t.Obj
			}
			n.deleted(o.(*v1.Pod))
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	f.Start(ctx.Done())
	log.Printf("node %s is ready", n.name)
	<-ctx.Done()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods { // the pods end with the node
		p.kill(syscall.SIGKILL)
	}
}

// seen acts on a pod's newest state.
func (n *nodeAgent) seen(ctx context.Context, pod *v1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pods[pod.UID]
	terminal := pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
	switch {
	case p == nil && terminal:
		if pod.DeletionTimestamp != nil {
			go n.confirmDelete(pod)
		}
	case p == nil:
		p = newPodRun(n, pod.DeepCopy())
		n.pods[pod.UID] = p
		go p.run(ctx)
		fallthrough
	default:
		if pod.DeletionTimestamp != nil {
			grace := int64(30)
			if pod.DeletionGracePeriodSeconds != nil {
				grace = *pod.DeletionGracePeriodSeconds
			}
			p.terminate(time.Duration(grace)*time.Second, "")
		}
	}
}

// deleted ends what is left of a pod whose object no longer exists: it was deleted by force, or by this node.
func (n *nodeAgent) deleted(pod *v1.Pod) {
	n.mu.Lock()
	p := n.pods[pod.UID]
	delete(n.pods, pod.UID)
	n.mu.Unlock()
	if p != nil {
		p.terminate(0, "")
		go func() { <-p.done; os.RemoveAll(p.dir()) }()
	}
}

// confirmDelete tells the API server that nothing of a pod runs any more.
func (n *nodeAgent) confirmDelete(pod *v1.Pod) {
	zero := int64(0)
	for {
		err := n.client.CoreV1().Pods(pod.Namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &zero, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
		})
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		log.Printf("delete %s/%s: %v", pod.Namespace, pod.Name, err)
		time.Sleep(time.Second)
	}
}

// register makes the Node, ready from the start.
func (n *nodeAgent) register(ctx context.Context, capacity v1.ResourceList, taint string, port int) error {
	want := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
		"kubernetes.io/hostname": n.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": runtime.GOARCH,
	}}}
	if taint != "" {
		parsed, _, err := taints.ParseTaints([]string{taint})
		if err != nil {
			return err
		}
		want.Spec.Taints = parsed
	}
	node, err := n.client.CoreV1().Nodes().Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		node, err = n.client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the controllers write to it too
		if node, err = n.client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{}); err != nil {
			return err
		}
		now := metav1.Now()
		node.Status.Capacity, node.Status.Allocatable = capacity, capacity
		node.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: "127.0.0.1"}, {Type: v1.NodeHostName, Address: n.name}}
		node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
		node.Status.NodeInfo = v1.NodeSystemInfo{OperatingSystem: "linux", Architecture: runtime.GOARCH, KubeletVersion: "v1.37.2-localnode", ContainerRuntimeVersion: "process://1"}
		node.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "LocalNode", Message: "pods are processes", LastHeartbeatTime: now, LastTransitionTime: now}}
		_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
}

// heartbeat renews the node's lease; without it the controllers would taint the node after 50 seconds.
func (n *nodeAgent) heartbeat(ctx context.Context) {
	leases := n.client.CoordinationV1().Leases(v1.NamespaceNodeLease)
	secs := int32(40)
	for ; ; time.Sleep(5 * time.Second) {
		now := metav1.NowMicro()
		l, err := leases.Get(ctx, n.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = leases.Create(ctx, &coordv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: n.name},
				Spec: coordv1.LeaseSpec{HolderIdentity: &n.name, LeaseDurationSeconds: &secs, RenewTime: &now}}, metav1.CreateOptions{})
		} else if err == nil {
			l.Spec.RenewTime = &now
			_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.Printf("lease: %v", err)
		}
	}
}

// serveLogs answers what `kubectl logs` asks of a kubelet, and returns the port.
func (n *nodeAgent) serveLogs(port int) int {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: n.name}, NotAfter: time.Now().Add(240 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{ns}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		var p *podRun
		for _, q := range n.pods {
			if q.pod.Namespace == r.PathValue("ns") && q.pod.Name == r.PathValue("pod") {
				p = q
			}
		}
		n.mu.Unlock()
		if p == nil {
			http.NotFound(w, r)
			return
		}
		q := r.URL.Query()
		attempt := p.restarts(r.PathValue("container"))
		if q.Get("previous") == "true" {
			attempt--
		}
		f, err := os.Open(p.logFile(r.PathValue("container"), attempt))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer f.Close()
		if tail, err := strconv.Atoi(q.Get("tailLines")); err == nil {
			all, _ := io.ReadAll(f)
			lines := bytes.SplitAfter(all, []byte("\n"))
			if len(lines) > 0 && len(lines[len(lines)-1]) == 0 {
				lines = lines[:len(lines)-1]
			}
			if len(lines) > tail {
				lines = lines[len(lines)-tail:]
			}
			_, _ = w.Write(bytes.Join(lines, nil))
		} else {
			_, _ = io.Copy(w, f)
		}
		for q.Get("follow") == "true" {
			w.(http.Flusher).Flush()
			over := false
			select {
			case <-p.done:
				over = true
			case <-r.Context().Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			_, _ = io.Copy(w, f)
			if over {
				return
			}
		}
	})
	l, err := tls.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(l, mux)) }()
	return l.Addr().(*net.TCPAddr).Port
}

func (p *podRun) dir() string {
	return filepath.Join(p.n.root, "pods", string(p.pod.UID))
}

func (p *podRun) logFile(container string, attempt int) string {
	return filepath.Join(p.dir(), "logs", container, strconv.Itoa(attempt)+".log")
}
